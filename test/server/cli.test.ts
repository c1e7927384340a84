import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { engineOptionNames, samplingParamNames, toSnakeCase } from '@quire/core';
import { afterAll, describe, expect, it } from 'vitest';
import packageJson from '../../packages/server/package.json' with { type: 'json' };
import { engineFlags } from '../../packages/server/src/cli/engine-flags.ts';
import { runCli } from '../../packages/server/src/cli/run-cli.ts';
import { samplingFlags } from '../../packages/server/src/cli/sampling-flags.ts';
import { version } from '../../packages/server/src/version.ts';
import { build } from './build.ts';
import { goldenCase, tinyLlama } from './tiny-server.ts';

async function quire(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const result = { code: -1, out: '', err: '' };
  result.code = await runCli(argv, {
    env: {},
    out: text => {
      result.out += text;
    },
    err: text => {
      result.err += text;
    },
  });
  return result;
}

const folder = mkdtempSync(join(tmpdir(), 'quire-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));
const kebab = (name: string) => toSnakeCase(name).replaceAll('_', '-');

describe('the command line', () => {
  it('tells its commands and their flags', async () => {
    const overview = await quire('--help');
    expect(overview.code).toBe(0);
    for (const name of ['serve', 'generate', 'crosscheck', 'bench', 'devices']) {
      expect(overview.out).toContain(name);
      const help = await quire(name, '--help');
      expect([help.code, help.err]).toEqual([0, '']);
      expect(help.out).toContain(`quire ${name}`);
      for (const line of help.out.split('\n')) expect(line.length).toBeLessThanOrEqual(300);
    }
    expect((await quire('serve', '--help')).out).toContain('--max-num-seqs N');
  });

  it('has a flag for every option of the engine and every sampling parameter', () => {
    const engine = engineOptionNames.filter(name => name !== 'model').map(kebab);
    expect(Object.keys(engineFlags).sort()).toEqual(engine.sort());
    // A seed is an option of the engine too, a processor is a function, and the markers of a reasoning are found by the server.
    const without = ['seed', 'logitsProcessors', 'thinkingTokenBudget'];
    const sampling = samplingParamNames.filter(name => !without.includes(name)).map(kebab);
    expect(Object.keys(samplingFlags).sort()).toEqual(sampling.sort());
  });

  it.each([
    [['srve'], 'Did you mean "serve"?'],
    [['serve', 'm', '--max-modle-len', '5'], 'Unknown flag --max-modle-len. Did you mean "--max-model-len"?'],
    [['serve', 'm', '--max-model-len', 'many'], '--max-model-len must be an integer in'],
    [['serve', 'm', '--max-num-seqs', 'many'], '--max-num-seqs must be an integer, got "many"'],
    [['serve', 'm', '--speculative-config', '4'], '--speculative-config must be a JSON object, got "4"'],
    [
      ['serve', 'm', '--trust-remote-code'],
      '--trust-remote-code cannot be true: code from a model folder is never run',
    ],
    [
      ['serve', tinyLlama, '--tensor-parallel-size', '2', '--device', 'webgpu'],
      'devices of kind webgpu do not work in groups',
    ],
    [['serve', 'm', '--max-model-len'], '--max-model-len needs a value'],
    [['serve', 'm', '--max-model-len=1.5'], 'must be an integer'],
    [['serve', tinyLlama, '--max-model-len', '1'], '--max-model-len must be an integer in'],
    [['serve', 'm', '--no-seed'], 'Unknown flag --no-seed'],
    [['serve', 'm', '--strict=maybe'], '--strict must be true or false'],
    [['serve', 'm', '-x'], 'Unknown flag -x'],
    [['serve'], 'serve takes one MODEL, a folder or a name'],
    [['serve', 'a', 'b'], 'serve takes one MODEL, a folder or a name'],
    [['serve', 'm', '--log-level', 'loud'], '--log-level must be one of'],
    [['serve', tinyLlama, '--device', 'webgp'], 'Did you mean "webgpu"?'],
    [['generate', tinyLlama], 'generate needs a prompt'],
    [['generate', tinyLlama, '--prompts-file', 'absent.jsonl'], '--prompts-file cannot be read'],
    [['generate', tinyLlama, '--prompt', 'a', '--logit-bias', '{'], '--logit-bias must be JSON'],
    [['crosscheck', '--op', 'rmsNrm'], 'Did you mean "rmsNorm"?'],
    [['crosscheck', '--devices', 'reference'], 'nothing is compared with itself'],
    [['bench', 'everything'], 'bench takes one of ops, engine, offline, positions, serve, got everything'],
    [[], 'Usage:'],
  ])('refuses %j with exit code 2', async (argv, message) => {
    const { code, out, err } = await quire(...argv);
    expect(err).toContain(message);
    expect([code, out]).toEqual([2, '']);
  });

  it('shows errors of the model and of parameters without a stack', async () => {
    const missing = await quire('generate', join(folder, 'nothing'), '--prompt', 'a', '--device', 'reference');
    expect(missing.code).toBe(1);
    expect(missing.err).toMatch(/^quire: .*nothing/);
    expect(missing.err).not.toContain('    at ');
    const wrong = await quire('generate', tinyLlama, '--prompt', 'a', '--temperature', '9', '--device', 'reference');
    expect([wrong.code, wrong.err]).toEqual([1, 'quire: temperature must be in [0, 2], got 9.\n']);
  });

  it('tells its version, that of the package', async () => {
    expect((await quire('--version')).out).toBe(`${packageJson.version}\n`);
    expect(version).toBe(packageJson.version);
  });
});

describe('generate', () => {
  const greedy = ['--device', 'reference', '--temperature', '0'];

  it('prints prompts and texts', async () => {
    const { prompt, text } = goldenCase('one-token');
    const { code, out } = await quire('generate', tinyLlama, '--prompt', prompt, ...greedy);
    expect([code, out]).toEqual([0, `Prompt: "The"\n  ${JSON.stringify(text)}\n`]);
  });

  it('runs on a group of devices, with the same text', async () => {
    await build();
    const { prompt, text } = goldenCase('one-token');
    const group = ['--tensor-parallel-size', '2', '--pipeline-parallel-size', '2', '--max-model-len', '0.2k'];
    const { code, out } = await quire('generate', tinyLlama, '--prompt', prompt, ...greedy, ...group);
    expect([code, out]).toEqual([0, `Prompt: "The"\n  ${JSON.stringify(text)}\n`]);
  });

  it('prints one JSON line per prompt, in order, in the stable shape', async () => {
    const [first, second] = [goldenCase('dog-at-the-farm'), goldenCase('capital')];
    const file = join(folder, 'prompts.jsonl');
    const lines = [
      { promptTokenIds: first.promptTokenIds, maxTokens: first.maxTokens },
      { prompt: second.prompt, max_tokens: second.maxTokens, logprobs: 1 },
    ];
    writeFileSync(file, `${lines.map(line => JSON.stringify(line)).join('\n')}\n\n`);
    const { code, out, err } = await quire('generate', tinyLlama, '--prompts-file', file, '--json', ...greedy);
    expect([code, err]).toEqual([0, '']);
    const [a, b] = out
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, never>);
    const outputs = [
      { text: first.text, tokenIds: first.tokenIds, logprobs: null, cumulativeLogprob: null, finishReason: 'stop' },
    ];
    expect(a).toEqual({ prompt: null, promptTokenIds: first.promptTokenIds, outputs });
    expect(b).toMatchObject({ prompt: second.prompt, promptTokenIds: second.promptTokenIds });
    const [output] = (
      b as unknown as {
        outputs: {
          text: string;
          logprobs: { tokenId: number; logprob: number; rank: number; top: object[] }[];
          cumulativeLogprob: number;
        }[];
      }
    ).outputs;
    expect(output!.text).toBe(second.text);
    output!.logprobs.forEach((entry, i) => {
      expect(Object.keys(entry)).toEqual(['tokenId', 'logprob', 'rank', 'top']);
      expect(entry).toMatchObject({ tokenId: second.tokenIds[i], rank: 1 });
      expect(entry.logprob).toBeCloseTo(second.tokenLogprobs[i]!, 3);
      expect(entry.top).toEqual([{ tokenId: entry.tokenId, logprob: entry.logprob }]);
    });
    expect(output!.cumulativeLogprob).toBeCloseTo(
      second.tokenLogprobs.reduce((sum, x) => sum + x),
      2,
    );
  });

  it.each([
    ['{"prompt": 1}', 'line 1: give either'],
    ['{"prompt": "a", "promptTokenIds": [1]}', 'line 1: give either'],
    ['{"prompt": "a"}\n[1]', 'line 2 is not a JSON object'],
    ['{"prompt": "a"', 'line 1 is not JSON'],
  ])('refuses a file with %s', async (text, message) => {
    const file = join(folder, 'bad.jsonl');
    writeFileSync(file, text);
    const { code, err } = await quire('generate', tinyLlama, '--prompts-file', file, ...greedy);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });

  it('names an unknown parameter in a file', async () => {
    const file = join(folder, 'unknown.jsonl');
    writeFileSync(file, '{"prompt": "a", "temprature": 0}');
    const { code, err } = await quire('generate', tinyLlama, '--prompts-file', file, ...greedy);
    expect([code, err]).toEqual([1, 'quire: Unknown sampling parameter "temprature". Did you mean "temperature"?\n']);
  });
});

describe('devices', () => {
  it('tells of each kind whether it is usable, or why not', async () => {
    const { code, out } = await quire('devices', '--json');
    const devices = JSON.parse(out) as { kind: string; usable: boolean; name: string | null; reason: string | null }[];
    expect(code).toBe(0);
    expect(devices.map(device => device.kind)).toEqual(['cuda', 'cuda-emu', 'webgpu', 'reference']);
    expect(devices.find(device => device.kind === 'reference')).toMatchObject({ usable: true, software: true });
    for (const { usable, name, reason } of devices) expect(usable ? name : reason).toBeTruthy();
    const [cuda, emulated] = devices;
    if (!cuda!.usable) expect(cuda!.reason).toMatch(/CUDA is not usable: |\(run npm run build:cuda, or install /);
    if (!emulated!.usable) expect(emulated!.reason).toContain('(run npm run build:cuda-emu, or install ');
  });
});

describe('crosscheck', () => {
  it('compares one op, as JSON and as a table', async () => {
    const { code, out } = await quire('crosscheck', '--devices', 'reference,webgpu', '--op', 'add', '--json');
    const report = JSON.parse(out) as { cases: number; failed: number; ops: object[] };
    expect([code, report.failed]).toEqual([0, 0]);
    expect(report.cases).toBeGreaterThanOrEqual(30);
    expect(report.ops).toMatchObject([{ op: 'add', device: 'webgpu', cases: report.cases, failed: 0 }]);
    const table = await quire('crosscheck', '--op', 'add', '--case', '3');
    expect(table.out).toMatch(/webgpu\s+add\s+1\s+0/);
  });

  it('compares a model tensor by tensor', async () => {
    const { code, out } = await quire('crosscheck', tinyLlama, '--prompt', 'One day, the dog', '--json');
    const { devices } = JSON.parse(out) as { devices: { device: string; tensors: number; first: unknown }[] };
    expect(devices).toMatchObject([{ device: 'webgpu', first: null }]);
    expect(devices[0]!.tensors).toBeGreaterThan(40);
    expect(code).toBe(0);
  });
});
