import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configCases } from './cases/config.ts';
import { fileCases, permissionCases } from './cases/files.ts';
import { indexCases } from './cases/index-json.ts';
import { pickleCases } from './cases/pickle.ts';
import { safetensorsCases } from './cases/safetensors.ts';
import { tokenizerCases } from './cases/tokenizer.ts';
import { type BadFolder, makeFolder } from './harness/bad-folder.ts';
import type { Verdict } from './harness/protocol.ts';
import { WatchedLoader } from './harness/watched-loader.ts';

/** A second on a machine that does nothing else: processor time, too, grows on a busy one. */
const MAX_MILLISECONDS = 1500;
const MAX_EXTRA_BYTES = 64 * 2 ** 20;
const ATTEMPTS = 3;

const cases = [
  ...safetensorsCases,
  ...indexCases,
  ...pickleCases,
  ...configCases,
  ...fileCases,
  ...permissionCases,
  ...tokenizerCases,
];

let root: string;
let outside: string;
let loader: WatchedLoader;

beforeAll(async () => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'quire-bad-')));
  outside = join(root, 'outside');
  // A good model lies beside the bad ones: what leaves a folder would find something to read.
  cpSync('models/tiny-llama', outside, { recursive: true });
  loader = await WatchedLoader.create();
  for (const model of ['tiny-llama', 'tiny-opt']) {
    const verdict = await loader.load({ folder: resolve('models', model), source: 'folder' });
    if (verdict.error !== null) throw new Error(`${model} does not load: ${verdict.message}`);
  }
});
afterAll(() => {
  loader?.close();
  rmSync(root, { recursive: true, force: true });
});

/** Loads a folder anew when only its time is against it: what else runs on the machine slows it down. */
async function load(folder: string): Promise<Verdict> {
  let verdict = await loader.load({ folder, source: 'folder' });
  for (let attempt = 1; attempt < ATTEMPTS && verdict.milliseconds > MAX_MILLISECONDS; attempt++)
    verdict = await loader.load({ folder, source: 'folder' });
  return verdict;
}

function expectVerdict(verdict: Verdict, bad: BadFolder): void {
  expect({ error: verdict.error, code: verdict.code }, verdict.message).toEqual({
    error: bad.error ?? 'ModelFormatError',
    code: bad.code,
  });
  expect(verdict.message.length, 'length of the message').toBeLessThan(1000);
  if (bad.message) expect(verdict.message).toMatch(bad.message);
}

/** Paths that were opened and do not lie in the folder. */
function strayPaths(opened: readonly string[], folder: string): string[] {
  return opened.filter(path => relative(folder, path).startsWith('..') || path.includes(outside));
}

describe('a bad model folder', () => {
  it('is bad in one of many ways, each with its own name', () => {
    expect(cases.length).toBeGreaterThanOrEqual(120);
    expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
  });

  it.each(cases.map(bad => [bad.name, bad] as const))('%s', async (_, bad) => {
    const folder = join(root, 'model');
    makeFolder(bad, folder, outside);
    const verdict = await load(folder);
    expectVerdict(verdict, bad);
    expect(verdict.milliseconds, 'milliseconds').toBeLessThan(MAX_MILLISECONDS);
    expect(verdict.extraBytes, 'extra memory').toBeLessThan(MAX_EXTRA_BYTES);
    expect(strayPaths(verdict.opened, folder)).toEqual([]);
    // The browser reads from memory or over HTTP: it must come to the same verdict.
    if (bad.arrange === undefined) expectVerdict(await loader.load({ folder, source: 'memory' }), bad);
  });
});

describe('the kernel', () => {
  const hasStrace = spawnSync('strace', ['-V']).status === 0;

  // The test above sees what the loader opens through Node; this one sees what the process opens at all.
  it.runIf(hasStrace)('is never asked to open a file outside the folder', async () => {
    const log = join(root, 'strace.log');
    const traced = await WatchedLoader.create(['strace', '-f', '-qq', '-e', 'trace=open,openat,openat2', '-o', log]);
    const folder = join(root, 'model');
    try {
      // Loads what is read and compiled on first use.
      makeFolder({ name: 'good', code: '' }, folder, outside);
      await traced.load({ folder, source: 'folder' });
      const start = statSync(log).size;
      const risky = cases.filter(({ arrange, name }) => arrange !== undefined || name.startsWith('index: the file'));
      for (const bad of risky) {
        makeFolder(bad, folder, outside);
        await traced.load({ folder, source: 'folder' });
      }
      const lines = readFileSync(log, 'utf8').slice(start).split('\n');
      const opened = lines
        .map(line => /open(?:at2?)?\((?:[^"]*)"([^"]*)"/.exec(line)?.[1])
        .filter(path => path !== undefined);
      expect(opened.filter(path => path.startsWith(folder)).length).toBeGreaterThan(20);
      // Node and the allocator ask the kernel about itself as they go; no folder of the cases leads there.
      const own = /^\/(?:proc|sys)\//;
      const allowed = (path: string) => path === folder || path.startsWith(`${folder}/`) || own.test(path);
      expect(opened.filter(path => !allowed(path))).toEqual([]);
    } finally {
      traced.close();
    }
  });
});
