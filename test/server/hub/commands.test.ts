/** Commands that take a MODEL take a name, and bring what it names. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { runCli } from '../../../packages/server/src/cli/run-cli.ts';
import { goldenCase, tinyLlama } from '../tiny-server.ts';
import { FakeHub } from './fake-hub.ts';

const home = mkdtempSync(join(tmpdir(), 'quire-hub-'));
let hub: FakeHub;
beforeAll(async () => {
  const files = readdirSync(tinyLlama).map(name => [name, readFileSync(join(tinyLlama, name))] as const);
  hub = await new FakeHub('quire/tiny', new Map(files)).listen();
  vi.stubEnv('HF_HOME', home);
  vi.stubEnv('HF_ENDPOINT', hub.origin);
  vi.stubEnv('HF_HUB_OFFLINE', '');
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  rmSync(home, { recursive: true });
});

async function quire(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const result = { code: -1, out: '', err: '' };
  const io = {
    env: {},
    out: (text: string) => {
      result.out += text;
    },
    err: (text: string) => {
      result.err += text;
    },
  };
  result.code = await runCli(argv, io);
  return result;
}

const golden = goldenCase('dog-at-the-farm');
const generate = (...flags: string[]) =>
  quire(
    'generate',
    'quire/tiny',
    '--prompt',
    golden.prompt,
    '--temperature',
    '0',
    '--json',
    '--device',
    'reference',
    ...flags,
  );

it('generate downloads the model with progress, and then has it', async () => {
  const first = await generate('--max-tokens', '4');
  expect(first.err).toMatch(/Downloading quire\/tiny: \d+ % of .* MB, .*\/s\n/);
  expect(first.err).toContain('Downloading quire/tiny: 100 %');
  expect(first.code).toBe(0);
  expect(JSON.parse(first.out).outputs[0].tokenIds).toEqual(golden.tokenIds.slice(0, 4));
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  const second = await generate('--max-tokens', '4');
  expect(second.err).toBe('');
  expect(second.out).toBe(first.out);
  expect(hub.asked).not.toContain('golden.json');
});

it('a wrong configuration is told before anything is downloaded', async () => {
  vi.stubEnv('HF_HUB_OFFLINE', '');
  hub.requests.length = 0;
  const { code, err } = await quire('generate', 'quire/other', '--prompt', 'a', '--max-num-seqs', '0');
  expect([code, hub.requests.length]).toEqual([2, 0]);
  expect(err).toContain('--max-num-seqs');
  const unknown = await quire('serve', 'quire/other');
  expect(unknown).toMatchObject({ code: 2, out: '' });
  expect(unknown.err).toMatch(
    /^quire: --model is "quire\/other", which is no folder here. .* answered 401 RepoNotFound/,
  );
});
