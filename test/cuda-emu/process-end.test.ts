/** However a process or a worker ends, the addon lets it end: in time, with its exit code, and without a word. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { addonPath } from '../../packages/backend-cuda/src/addon.ts';

const RUNS = 4;
const program = join(import.meta.dirname, 'life.mjs');

interface End {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

function run(way: string): Promise<End> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, addonPath('emu'), way], {
      timeout: 300_000,
      killSignal: 'SIGKILL',
    });
    const end = { out: '', err: '' };
    child.stdout.on('data', text => {
      end.out += text;
    });
    child.stderr.on('data', text => {
      end.err += text;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, ...end }));
  });
}

const clean = { code: 0, signal: null, out: '', err: '' };
const ends: Readonly<Record<string, Record<keyof End, unknown>>> = {
  idle: clean,
  pending: { ...clean, out: 'settled\n' },
  exit: clean,
  'exit while disposing': clean,
  throw: { ...clean, code: 1, err: expect.stringContaining('Error: thrown with work in flight') },
  lost: { ...clean, out: expect.stringContaining('cudaErrorIllegalAddress') },
  'terminate busy workers': clean,
  'terminate workers with a lost device': clean,
};

it.each(Object.entries(ends))('ends cleanly: %s', async (way, end) => {
  for (let i = 0; i < RUNS; i++) expect(await run(way), `run ${i}`).toEqual(end);
});
