/** `quire generate --json` on the bundled checkpoints, line by line against their golden outputs. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli } from '../../packages/server/src/cli/run-cli.ts';
import { casesOn, endToEndDevices } from '../support/devices.ts';
import { goldenCases } from './models.ts';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'quire-generate-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** One line of the command's output. */
interface GeneratedLine {
  promptTokenIds: number[];
  outputs: {
    text: string;
    tokenIds: number[];
    logprobs: { tokenId: number; logprob: number }[];
    finishReason: string;
  }[];
}

async function generate(...argv: string[]): Promise<GeneratedLine[]> {
  const printed = { out: '', err: '' };
  const code = await runCli(['generate', ...argv], {
    env: {},
    out: text => {
      printed.out += text;
    },
    err: text => {
      printed.err += text;
    },
  });
  expect(code, printed.err).toBe(0);
  return printed.out
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
}

describe.each(endToEndDevices())('quire generate --json --device %s', device => {
  const models = casesOn(device, ['models/tiny-llama', 'models/tiny-opt'], ['models/tiny-opt']);
  it.each(models)('prints the golden outputs of %s', async model => {
    const cases = goldenCases(model);
    const file = join(folder, `${device}-${model.replaceAll('/', '-')}.jsonl`);
    const lines = cases.map(({ prompt, maxTokens }) => JSON.stringify({ prompt, maxTokens, temperature: 0 }));
    writeFileSync(file, lines.join('\n'));
    const flags = ['--json', '--logprobs', '1', '--kv-cache-dtype', 'float32', '--device', device];
    const generated = await generate(join(root, model), '--prompts-file', file, ...flags);
    expect(generated.length).toBe(cases.length);
    cases.forEach((golden, i) => {
      const { promptTokenIds, outputs } = generated[i]!;
      const { text, tokenIds, finishReason, logprobs } = outputs[0]!;
      expect({ promptTokenIds, text, tokenIds, finishReason }, golden.name).toEqual({
        promptTokenIds: golden.promptTokenIds,
        text: golden.text,
        tokenIds: golden.tokenIds,
        finishReason: golden.finishReason,
      });
      golden.tokenLogprobs.forEach((expected, t) => {
        expect(logprobs[t]!.logprob).toBeCloseTo(expected, 3);
      });
    });
  });
});
