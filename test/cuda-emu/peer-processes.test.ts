/**
 * Ranks in processes of one machine that open one another's memory by CUDA IPC, over real shared memory: sums with the bits of
 * ranks that are threads, who may open what, and how it ends.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { addonPath } from '../../packages/backend-cuda/src/addon.ts';

const RANKS = 3;
const program = join(import.meta.dirname, 'peer-rank.mjs');

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** A process that answers calls. */
class Rank {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; signal: string | null; log: string }>;
  readonly #waiting = new Map<number, (answer: Answer) => void>();

  constructor(place: string | number, env: Readonly<Record<string, string>> = {}) {
    this.child = fork(program, [addonPath('emu'), String(place), String(RANKS)], {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      env: { ...process.env, NODE_OPTIONS: '', ...env },
    });
    let log = '';
    this.child.stderr!.on('data', chunk => {
      log += String(chunk);
    });
    this.ended = new Promise(resolve => this.child.once('close', (code, signal) => resolve({ code, signal, log })));
    this.child.on('message', (answer: Answer) => this.#waiting.get(answer.id)!(answer));
  }

  call<T>(call: string, ...args: unknown[]): Promise<T> {
    const id = this.#waiting.size;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) =>
        error === undefined ? resolve(result as T) : reject(new Error(error)),
      );
      void this.ended.then(({ log }) => reject(new Error(`the rank has ended: ${log}`)));
      this.child.send({ id, call, args });
    });
  }
}

const started: Rank[] = [];
const start = (place: string | number, env?: Readonly<Record<string, string>>) => {
  const rank = new Rank(place, env);
  started.push(rank);
  return rank;
};
afterEach(() => {
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
});

/** All ranks, which have opened one another's memory and joined. */
async function openGroup(): Promise<Rank[]> {
  const ranks = Array.from({ length: RANKS }, (_, rank) => start(rank));
  const exports = await Promise.all(ranks.map(rank => rank.call<Uint8Array>('exportPeer')));
  await Promise.all(ranks.map(rank => rank.call('importPeers', exports)));
  const id = await ranks[0]!.call<Uint8Array>('uniqueId');
  await Promise.all(ranks.map(rank => rank.call('join', id, true)));
  return ranks;
}

interface Sum {
  readonly out: Uint8Array;
  readonly launches: number;
}
/** Three rows of it are above what crosses in one launch, in f32. */
const LARGE = 45_000;

it('sum in the order of the ranks, bit for bit as ranks that are threads', async () => {
  const [threads, ranks] = [start('threads'), await openGroup()];
  for (const dtype of ['f32', 'f16', 'bf16']) {
    for (const columns of dtype === 'f32' ? [1, 97, 1024, LARGE] : [1, 97, 1024]) {
      const sum = { dtype, columns, times: columns === LARGE ? 1 : 2 };
      const [expected, found] = await Promise.all([
        threads.call<Sum[]>('sum', sum),
        Promise.all(ranks.map(rank => rank.call<Sum>('sum', sum))),
      ]);
      const pieces = columns === LARGE ? 2 : 1;
      for (const { out, launches } of found) {
        expect(launches).toBe(pieces * sum.times);
        expect(Buffer.compare(out, expected[0]!.out), `${dtype}, ${columns} columns`).toBe(0);
      }
    }
  }
});

describe('memory is not opened', () => {
  it('on another host, nor in the process that has exported it', async () => {
    const [near, far] = [start(0), start(1, { NCCL_HOSTID: 'another' })];
    const exports = await Promise.all([near, far].map(rank => rank.call<Uint8Array>('exportPeer')));
    await expect(near.call('importPeers', exports)).rejects.toThrow('rank 0 and rank 1 are on different hosts');
    await expect(far.call('importPeers', exports)).rejects.toThrow('rank 1 and rank 0 are on different hosts');
    await expect(near.call('importPeers', [exports[0], exports[0]])).rejects.toThrow(
      'the GPU of rank 0 has no access to the memory of that of rank 1',
    );
  });

  it('of a process that has ended', async () => {
    const [near, far] = [start(0), start(1)];
    const exports = await Promise.all([near, far].map(rank => rank.call<Uint8Array>('exportPeer')));
    far.child.kill('SIGKILL');
    await far.ended;
    await expect(near.call('importPeers', exports)).rejects.toThrow(
      'rank 0 cannot open the memory of rank 1: cudaErrorMapBufferObjectFailed',
    );
  });
});

describe('at the end', () => {
  it('all close, and then all free', async () => {
    const ranks = await openGroup();
    await Promise.all(ranks.map(rank => rank.call('sum', { dtype: 'f32', columns: 8, times: 3 })));
    await Promise.all(ranks.map(rank => rank.call('leave')));
    await Promise.all(ranks.map(rank => rank.call('dispose')));
    for (const { child } of ranks) child.send({ call: 'end' });
    for (const { ended } of ranks) expect(await ended).toEqual({ code: 0, signal: null, log: '' });
  });

  it('who frees what others have open is found by the emulator', async () => {
    const [first] = await openGroup();
    await first!.call('leave');
    await expect(first!.call('dispose')).rejects.toThrow('cudaFree of memory that another process has open');
    expect(await first!.ended).toMatchObject({ signal: 'SIGABRT' });
  });

  it('the others are let go where one is killed, and keep what it may still have open', async () => {
    const ranks = await openGroup();
    ranks[2]!.child.kill('SIGKILL');
    await ranks[2]!.ended;
    const waiting = ranks.slice(0, 2).map(rank => rank.call('sum', { dtype: 'f32', columns: 8, times: 3 }));
    await Promise.all(ranks.slice(0, 2).map(rank => rank.call('abort')));
    await Promise.all(waiting);
    for (const { child } of ranks.slice(0, 2)) child.send({ call: 'end' });
    for (const { ended } of ranks.slice(0, 2)) expect(await ended).toEqual({ code: 0, signal: null, log: '' });
  });
});
