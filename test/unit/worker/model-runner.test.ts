import { type Device, DeviceError, NONE, SAMPLE_FINITE, SAMPLE_LIVE } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigError } from '../../../packages/core/src/errors.ts';
import type { ModelConfig } from '../../../packages/core/src/models/config.ts';
import { createModelRunner, type ModelRunner, type WorkerConfig } from '../../../packages/core/src/worker/index.ts';
import type { RowSampling, SchedulerOutput, StepResult } from '../../../packages/core/src/worker/types.ts';
import { llamaConfig, optConfig } from '../models/configs.ts';
import { decodeStep, newRow, prefillStep, stepOf } from './steps.ts';

const engineConfig: WorkerConfig = {
  dtype: 'auto',
  seed: 3n,
  maxModelLen: null,
  blockSize: 4,
  maxNumSeqs: 8,
  maxNumBatchedTokens: 64,
  kvCacheDtype: 'auto',
  kvCacheMemoryBytes: null,
  numGpuBlocksOverride: 100,
  maxLogprobs: 20,
  runAhead: 2,
  numSchedulerSteps: 4,
};
const OK = SAMPLE_LIVE | SAMPLE_FINITE;
const prompts = [
  [5, 17, 80, 3],
  [9, 9, 2],
  [44, 1, 60, 7, 30],
];

let device: Device;
let counts: { writes: number; submits: number };
let runners: ModelRunner[];

beforeEach(async () => {
  device = await openReferenceDevice();
  counts = { writes: 0, submits: 0 };
  runners = [];
});
afterEach(async () => {
  for (const runner of runners) await runner.dispose();
  expect(device.allocatedBytes()).toBe(0);
  await device.dispose();
});

async function open(
  changes: Partial<WorkerConfig> = {},
  modelConfig: ModelConfig = llamaConfig(),
): Promise<ModelRunner> {
  const config = { ...engineConfig, ...changes };
  const runner = await createModelRunner({
    device: counting(device),
    modelConfig,
    engineConfig: config,
    checkpoint: null,
  });
  runners.push(runner);
  return runner;
}

/** The device, with its writes and submits counted. */
function counting(inner: Device): Device {
  return new Proxy(inner, {
    get(target, key) {
      if (key === 'write') counts.writes++;
      if (key === 'submit') counts.submits++;
      const value = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Prefill of all prompts, each on 10 blocks of its own. */
function prefill(sampling: Partial<RowSampling> = {}): SchedulerOutput {
  const newRows = prompts.map((prompt, row) => newRow(row, prompt, 40, sampling));
  return prefillStep(
    newRows,
    newRows.map(({ row }) => ({ row, start: 0, blocks: blocksFrom(1 + 10 * row, 10) })),
  );
}

function blocksFrom(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

const rows = [0, 1, 2];

/** Tokens of each row over results, in order. */
function byRow(results: readonly StepResult[]): number[][] {
  return rows.map((_, i) =>
    results.flatMap(({ tokenIds, flags }) => {
      const found: number[] = [];
      for (let at = i; at < tokenIds.length; at += rows.length) {
        expect(flags[at]).toBe(OK);
        found.push(tokenIds[at]!);
      }
      return found;
    }),
  );
}

async function decode(
  runner: ModelRunner,
  sampling: Partial<RowSampling>,
  repeats: readonly number[],
): Promise<number[][]> {
  const results = [kept(await runner.submit(prefill(sampling)))];
  for (const times of repeats) results.push(kept(await runner.submit(decodeStep(rows, times))));
  return byRow(results);
}

/** Arrays of a result are used again by later steps. */
function kept(result: StepResult): StepResult {
  return { ...result, tokenIds: result.tokenIds.slice(), flags: result.flags.slice() };
}

describe('ModelRunner', () => {
  it('gives the same tokens one step at a time, in repeats around the ring, and with many submits in flight', async () => {
    for (const sampling of [{}, { temperature: 1, seed: 99n, topP: 0.9 }]) {
      const single = await decode(await open(), sampling, new Array(30).fill(1));
      expect(single.map(tokens => tokens.length)).toEqual([31, 31, 31]);
      expect(new Set(single.flat()).size).toBeGreaterThan(10);
      expect(await decode(await open(), sampling, [7, 13, 10])).toEqual(single);

      const runner = await open();
      const pending = [runner.submit(prefill(sampling)).then(kept)];
      for (let i = 0; i < 10; i++) pending.push(runner.submit(decodeStep(rows, 3)).then(kept));
      expect(byRow(await Promise.all(pending))).toEqual(single);
    }
  });

  it('samples the same tokens in any row, batch and chunking', async () => {
    const sampling = { temperature: 1.5, seed: 0xabcdef0123n, topK: 40, minP: 0.01 };
    const batched = await decode(await open(), sampling, [4, 4]);
    const runner = await open();
    const row = 5;
    const grants = [{ row, start: 0, blocks: blocksFrom(61, 10) }];
    const newRows = [newRow(row, prompts[2]!, 40, sampling)];
    await runner.submit(stepOf([{ row, queryLen: 3, sampleCount: 0 }], { newRows, grants }));
    const tokens = [...(await runner.submit(stepOf([{ row, queryLen: 2, sampleCount: 1 }]))).tokenIds];
    for (const times of [1, 7]) tokens.push(...(await runner.submit(decodeStep([row], times))).tokenIds);
    expect(tokens).toEqual(batched[2]);
  });

  it('uploads nothing in steady decode, and at most one delta a step otherwise', async () => {
    const runner = await open();
    counts = { writes: 0, submits: 0 };
    await runner.submit(prefill());
    await runner.submit(decodeStep(rows));
    expect(counts).toEqual({ writes: 2, submits: 2 });
    for (let i = 0; i < 5; i++) await runner.submit(decodeStep(rows, 1 + (i % 2)));
    expect(counts).toEqual({ writes: 2, submits: 7 });
  });

  it('keeps the order of steps while a sampling class is compiled', async () => {
    const plain = await decode(await open(), {}, new Array(4).fill(1));
    const runner = await open();
    const first = prefill();
    const withLogprobs = {
      ...first,
      newRows: first.newRows.map(row => ({ ...row, logprobs: row.row === 1 ? 2 : null })),
    };
    const reused = decodeStep(rows);
    const pending = [runner.submit(withLogprobs)];
    for (let i = 0; i < 4; i++) pending.push(runner.submit(reused));
    // The scheduler reuses its arrays as soon as submit returns.
    reused.rows.fill(7);
    const results = await Promise.all(pending);
    expect(byRow(results)).toEqual(plain);
    for (const { logprobs, tokenIds } of results) {
      expect(logprobs!.topN).toBe(5);
      rows.forEach((_, i) => {
        // Greedy: the chosen token is the first of the top.
        expect(logprobs!.ids.subarray(i * 7, i * 7 + 3)).toEqual(Uint32Array.of(tokenIds[i]!, 1, tokenIds[i]!));
        expect(logprobs!.logprobs[i * 6]).toBe(logprobs!.logprobs[i * 6 + 1]);
      });
    }
  });

  it('does not let a step overtake one that waits for its sampling class', async () => {
    const plain = await decode(await open(), {}, [1]);
    const runner = await open();
    const first = prefill();
    const waits = runner.submit({ ...first, newRows: first.newRows.map(row => ({ ...row, logprobs: 0 })) });
    const newRows = [newRow(3, prompts[0]!, 40)];
    const ready = runner.submit(prefillStep(newRows, [{ row: 3, start: 0, blocks: blocksFrom(1, 10) }]));
    expect(runner.executables.has('sampling.greedy+logprobs0')).toBe(false);
    const order: string[] = [];
    void waits.then(() => order.push('waits'));
    await ready.then(() => order.push('ready'));
    expect(order).toEqual(['waits', 'ready']);
    expect((await ready).tokenIds[0]).toBe(plain[0]![0]);
  });

  it('gives NONE for a chunk of a prompt, and scores prompts in slices', async () => {
    const runner = await open();
    const whole = await decode(runner, {}, []);
    const prompt = prompts[2]!;
    const grants = [{ row: 2, start: 0, blocks: blocksFrom(21, 10) }];
    const chunk = stepOf([{ row: 2, queryLen: 2, sampleCount: 0 }], { newRows: [newRow(2, prompt, 40)], grants });
    expect(await runner.submit(chunk)).toMatchObject({
      tokenIds: Uint32Array.of(NONE),
      flags: Uint32Array.of(0),
      logprobs: null,
    });

    const promptLogprobs = Int32Array.of(0);
    const slice = await runner.submit(stepOf([{ row: 2, queryLen: 2, sampleCount: 2 }], { promptLogprobs }));
    expect(slice.tokenIds).toEqual(Uint32Array.of(NONE));
    expect([...slice.logprobs!.ids.filter((_, i) => i % 2 === 0)]).toEqual(prompt.slice(3, 5));
    const last = await runner.submit(stepOf([{ row: 2, queryLen: 1, sampleCount: 1 }]));
    expect([...last.tokenIds]).toEqual(whole[2]);
  });

  it('reports a row that is out of blocks or of tokens as spent', async () => {
    const runner = await open();
    const spent = newRow(0, prompts[0]!, 7);
    await runner.submit(prefillStep([spent], [{ row: 0, start: 0, blocks: [1] }]));
    // The prompt fills its only block.
    expect(await runner.submit(decodeStep([0]))).toMatchObject({
      tokenIds: Uint32Array.of(NONE),
      flags: Uint32Array.of(0),
    });
    const granted = { ...decodeStep([0], 4), grants: [{ row: 0, start: 1, blocks: [2] }] };
    const { tokenIds, flags } = await runner.submit(granted);
    expect([...flags]).toEqual([OK, OK, 0, 0]);
    expect([...tokenIds.subarray(2)]).toEqual([NONE, NONE]);
  });

  it('copies and clears blocks before a step', async () => {
    const runner = await open();
    const prompt = [5, 17, 80, 3, 21, 22];
    const own = await runner.submit(prefillStep([newRow(0, prompt, 40)], [{ row: 0, start: 0, blocks: [1, 2] }]));
    const resumed = { ...newRow(1, prompt, 40), numComputed: 4 };
    const rest = (blocks: number[], changes: Partial<SchedulerOutput>) =>
      stepOf([{ row: 1, queryLen: 2, sampleCount: 1 }], {
        newRows: [resumed],
        grants: [{ row: 1, start: 0, blocks }],
        ...changes,
      });
    const copied = await runner.submit(rest([7, 8], { copies: [[1, 7]] }));
    expect(copied.tokenIds).toEqual(own.tokenIds);
    const wanted = await logprob(runner, rest([7, 8], {}));
    expect(await logprob(runner, rest([1, 9], {}))).toBe(wanted);
    expect(await logprob(runner, rest([1, 9], { zeroBlocks: [1] }))).not.toBe(wanted);
    // 150 copies take two runs of the program: the last one is the only one that matters here.
    const many = blocksFrom(40, 50).flatMap((to): [number, number][] => [
      [7, to],
      [7, to],
      [7, to],
    ]);
    expect(await logprob(runner, rest([89, 10], { copies: many }))).toBe(wanted);
  });

  async function logprob(runner: ModelRunner, step: SchedulerOutput): Promise<number> {
    const newRows = step.newRows.map(row => ({ ...row, logprobs: 0 }));
    return (await runner.submit({ ...step, newRows })).logprobs!.logprobs[0]!;
  }

  it('applies biases, masks and penalties, and reports the model’s own log-probabilities', async () => {
    const runner = await open();
    const [first] = await decode(runner, {}, []);
    const sampling = { logitBias: [[first![0]!, -100]] as const };
    expect(await firstToken(runner, sampling)).not.toBe(first![0]);
    expect(await firstToken(runner, { stopTokenIds: first!, minTokens: 1 })).not.toBe(first![0]);
    expect(await firstToken(runner, { stopTokenIds: first!, minTokens: 0 })).toBe(first![0]);
    const seen = newRow(0, [...prompts[0]!, first![0]!], 40, { frequencyPenalty: 2 });
    const output = { ...seen, promptTokens: 4 };
    await runner.submit(prefillStep([output], [{ row: 0, start: 0, blocks: [1, 2] }]));
    expect([...runner.executables.keys()]).toEqual([
      'model',
      'applyRowDelta',
      'sampling.greedy',
      'sampling.random',
      'sampling.greedy+biases',
      'sampling.greedy+penalties',
    ]);
    const plain = await logprob(runner, prefill());
    const bent = await logprob(runner, prefill({ logitBias: [[first![0]!, 3]] }));
    expect(bent).toBe(plain);
  });

  async function firstToken(runner: ModelRunner, sampling: Partial<RowSampling>): Promise<number> {
    return byRow([await runner.submit(prefill(sampling))])[0]![0]!;
  }

  it('lowers the budgets of a step to what the device can bind', async () => {
    await device.dispose();
    device = await openReferenceDevice({ maxTensorBytes: 8192 });
    const { limits, kvCache } = await open({ maxNumSeqs: 50, maxNumBatchedTokens: 1000, numGpuBlocksOverride: null });
    // 8192 bytes: 21 rows of 96 activations, 20 of 96 logits and two more, 2 rows of 1024 bias words.
    expect(limits).toMatchObject({
      maxNumBatchedTokens: 21,
      maxSamples: 20,
      maxNumSeqs: 2,
      maxModelLen: 64,
      numBlocks: 32,
    });
    expect(kvCache).toMatchObject({ tokens: 124, fullLengthRequests: 31 / 16 });
  });

  it('refuses what the model or the device cannot do, and keeps nothing allocated', async () => {
    await expect(open({ maxModelLen: 65 })).rejects.toThrow(/maxModelLen is 65, but the model knows 64 positions/);
    await expect(open({ maxModelLen: 64, numGpuBlocksOverride: 15 })).rejects.toThrow(ConfigError);
    expect(device.allocatedBytes()).toBe(0);
    const stretched = llamaConfig({ rope: { theta: 1e4, rotaryDim: 8, scaling: { type: 'linear', factor: 2 } } });
    expect((await open({ maxModelLen: 128 }, stretched)).limits.maxModelLen).toBe(128);
  });

  it('keeps nothing allocated when a program cannot be compiled or a tensor cannot be made', async () => {
    const inner = device;
    for (const broken of ['sampling.random', 'vCache.1']) {
      device = new Proxy(inner, {
        get: (target, key) => {
          const value = Reflect.get(target, key);
          if (typeof value !== 'function') return value;
          return (...args: [{ name: string }]) => {
            if (args[0]?.name === broken) throw new DeviceError(`${broken} failed`);
            return value.apply(target, args);
          };
        },
      });
      await expect(open()).rejects.toThrow(`${broken} failed`);
      expect(inner.allocatedBytes()).toBe(0);
    }
    device = inner;
  });

  it('sizes the cache from the memory that weights and temporaries leave', async () => {
    const inner = device;
    // Another process holds some of the memory too.
    const others = 100_000;
    device = new Proxy(inner, {
      get: (target, key) => {
        const free = 1_000_000 - others - inner.allocatedBytes();
        const value = key === 'info' ? { ...inner.info, memory: { total: 1_000_000, free } } : Reflect.get(target, key);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    // A block takes 2 layers * 2 * 2 KV heads * 4 slots * 8 * 4 bytes.
    const blockBytes = 1024;
    const changes = { numGpuBlocksOverride: null, maxNumBatchedTokens: 32 };
    const blocks: number[] = [];
    for (const [share, bytes] of [
      [1, 1_000_000],
      [0.8, 800_000],
    ] as const) {
      const runner = await open({ ...changes, gpuMemoryUtilization: share });
      blocks.push(runner.kvCache.numBlocks);
      const left = bytes - others - inner.allocatedBytes();
      expect(left).toBeGreaterThanOrEqual(0);
      expect(left).toBeLessThan(2 * blockBytes);
      await runner.dispose();
      runners.pop();
    }
    expect(blocks[0]! - blocks[1]!).toBeCloseTo(200_000 / blockBytes, -0.5);
    await expect(open({ ...changes, gpuMemoryUtilization: 0.1 })).rejects.toThrow(
      /the memory left on .* of 0 bytes pays for 0/,
    );
    device = inner;
  });

  it('runs OPT', async () => {
    const tokens = await decode(await open({}, optConfig({ opt: { wordEmbedProjDim: 16 } })), {}, [3]);
    expect(tokens.map(row => row.length)).toEqual([4, 4, 4]);
  });
});
