/** Operations in which emulated GPUs meet: results across ranks and stages, graphs, and what happens when one of them fails. */
import { spawnSync } from 'node:child_process';
import { type CudaDevice, loadEmulator } from '@quire/backend-cuda';
import { type Device, DeviceLostError, type DType, type Op, type TypedArray } from '@quire/core/contract';
import type { DeviceGroup } from '@quire/core/group';
import { decodeFloats, encodeFloats, ProgramBuilder } from '@quire/core/program';
import { afterEach, describe, expect, it } from 'vitest';
import { openTestCudaEmuGroup } from '../support/devices.ts';
import { noSizes as sizes } from './fixtures.ts';

const RANKS = 3;
/** Three rows of it are above the size of a sum in one launch, in f32. */
const LARGE = 45_000;
const dtypes = ['f32', 'f16', 'bf16'] as const;
const chips = [
  { smCount: 1, blocksPerSm: 1, order: 'forward' },
  { smCount: 3, blocksPerSm: 2, order: 'shuffled', seed: 5 },
  { smCount: 132, blocksPerSm: 1, order: 'reverse' },
] as const;

const emulator = loadEmulator();
let group: DeviceGroup;
let devices: CudaDevice[][];
async function open(options: Parameters<typeof openTestCudaEmuGroup>[0]): Promise<void> {
  ({ group, devices } = await openTestCudaEmuGroup(options));
}
afterEach(async () => {
  emulator.injectError(0, -1);
  await group.dispose();
  for (let ordinal = 0; ordinal < RANKS; ordinal++) emulator.reset(ordinal);
});

interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Of each rank, or of all alike. */
  readonly data?: (rank: number) => TypedArray;
}

async function* once(data: TypedArray): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Compiles ops on external tensors, filled for each rank on its own. */
async function prepare(ops: readonly Op[], tensors: Readonly<Record<string, Tensor>>, on: Device = group) {
  const builder = new ProgramBuilder('test', sizes);
  const bindings = Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape }]) => {
      builder.external(name, dtype, shape);
      return [name, on.createTensor({ name, dtype, shape, usage: 'state' })];
    }),
  );
  for (const [name, { data }] of Object.entries(tensors)) {
    for (let rank = 0; data !== undefined && rank < on.info.ranks; rank++) {
      await on.upload(bindings[name]!, once(data(rank)), rank);
    }
  }
  for (const op of ops) builder.add(op);
  return { bindings, executable: await on.compile(builder.build(), bindings) };
}

/** Runs ops once on the group, and returns `out` of every rank. */
async function run(ops: readonly Op[], tensors: Readonly<Record<string, Tensor>>, out: string): Promise<number[][]> {
  const { bindings, executable } = await prepare(ops, tensors);
  group.submit([{ executable, sizes }]);
  const { dtype, shape } = tensors[out]!;
  const count = shape.reduce((product, dim) => product * dim, 1);
  const parts = (bindings[out] as unknown as { parts: readonly (readonly never[])[] }).parts.flat();
  return Promise.all(
    devices.flat().map(async (device, rank) => {
      const into = dtype === 'f32' ? new Float32Array(count) : new Uint16Array(count);
      await device.read(parts[rank]!, 0, into);
      return [...decodeFloats(dtype, into)];
    }),
  );
}

/** Values that all dtypes hold, different on every rank. */
const numberOf = (rank: number, i: number) => ((i * 7 + rank * 5) % 31) - 15 + 0.25 * ((i + rank) % 4);
const values = (dtype: DType, count: number) => (rank: number) =>
  encodeFloats(
    dtype,
    Float32Array.from({ length: count }, (_, i) => numberOf(rank, i)),
  );
const sumAt = (i: number) => Array.from({ length: RANKS }, (_, rank) => numberOf(rank, i)).reduce((a, b) => a + b);

/** Sums go through memory that all reach, or through NCCL where they are large and may depend on the batch. */
const ways = [true, false];

describe.each(chips)('on $smCount SMs in $order order', chip => {
  it.each(ways.flatMap(batchInvariant => dtypes.map(dtype => ({ dtype, batchInvariant }))))(
    'a sum of $dtype is that of all ranks, with the residual once, batch invariant or not ($batchInvariant)',
    async ({ dtype, batchInvariant }) => {
      await open({ tensorParallelSize: RANKS, chip, batchInvariant });
      for (const columns of chip === chips[1] && dtype === 'f32' ? [1, 97, 1024, LARGE] : [1, 97, 1024]) {
        const count = 3 * columns;
        const tensor = { dtype, shape: [3, columns] };
        const out = await run(
          [{ op: 'allReduce', x: 'x', residual: 'r', out: 'out' }],
          {
            x: { ...tensor, data: values(dtype, count) },
            r: { ...tensor, data: () => values(dtype, count)(RANKS) },
            out: tensor,
          },
          'out',
        );
        const expected = new Float32Array(count).map((_, i) => sumAt(i) + numberOf(RANKS, i));
        const rounded = [...decodeFloats(dtype, encodeFloats(dtype, expected))];
        // Matchers take seconds for so many.
        for (const own of out) expect(own.findIndex((value, at) => value !== rounded[at])).toBe(-1);
      }
    },
  );

  it('a sum in place is that of all ranks, time after time', async () => {
    await open({ tensorParallelSize: RANKS, chip });
    const { bindings, executable } = await prepare([{ op: 'allReduce', x: 'x', out: 'x' }], {
      x: { dtype: 'f32', shape: [1, 3000], data: () => new Float32Array(3000).fill(1) },
    });
    group.submit([{ executable, sizes }], 9);
    const x = new Float32Array(3000);
    await group.read(bindings.x!, 0, x);
    expect(new Set(x)).toEqual(new Set([RANKS ** 9]));
  });

  it('columns lie side by side, without the padding of the last rank', async () => {
    await open({ tensorParallelSize: RANKS, chip });
    for (const dtype of dtypes) {
      const out = await run(
        [{ op: 'allGather', x: 'x', out: 'out' }],
        { x: { dtype, shape: [5, 7], data: values(dtype, 35) }, out: { dtype, shape: [5, 20] } },
        'out',
      );
      const expected = Array.from({ length: 100 }, (_, i) => {
        const [row, column] = [Math.floor(i / 20), i % 20];
        return numberOf(Math.floor(column / 7), row * 7 + (column % 7));
      });
      for (const own of out) expect(own).toEqual(expected);
    }
  });
});

it('small sums are one launch, large ones go through NCCL', async () => {
  await open({ tensorParallelSize: RANKS, batchInvariant: false });
  for (const [columns, launches] of [
    [4096, RANKS],
    [LARGE, 0],
  ] as const) {
    const { executable } = await prepare([{ op: 'allReduce', x: 'x', out: 'x' }], {
      x: { dtype: 'f32', shape: [3, columns] },
    });
    const before = emulator.counters().allReduceOneShot?.launches ?? 0;
    group.submit([{ executable, sizes }]);
    await group.synchronize();
    expect((emulator.counters().allReduceOneShot?.launches ?? 0) - before).toBe(launches);
  }
});

it('rows of a divided table are found wherever they are', async () => {
  await open({ tensorParallelSize: RANKS });
  const ids = [0, 3, 4, 10, 11, 7];
  const row = (rank: number, i: number) => 100 + 4 * rank + i;
  const out = await run(
    [
      { op: 'vocabParallelEmbed', ids: 'ids', table: 'low', out: 'out', rowsPerRank: 4, firstRow: 0 },
      { op: 'vocabParallelEmbed', ids: 'ids', table: 'high', out: 'out', rowsPerRank: 4, firstRow: 3 },
      { op: 'allReduce', x: 'out', out: 'out' },
    ],
    {
      ids: { dtype: 'u32', shape: [6], data: () => Uint32Array.from(ids) },
      low: { dtype: 'f32', shape: [3, 1], data: rank => Float32Array.of(row(rank, 0), row(rank, 1), row(rank, 2)) },
      high: { dtype: 'f32', shape: [1, 1], data: rank => Float32Array.of(row(rank, 3)) },
      out: { dtype: 'f32', shape: [6, 1] },
    },
    'out',
  );
  for (const own of out) expect(own).toEqual(ids.map(id => 100 + id));
});

it.each(dtypes)('stages hand %s on, step after step, and share what the last one has', async dtype => {
  await open({ pipelineParallelSize: 3, chip: chips[1] });
  const [shape, count] = [[2, 500], 1000];
  const builder = new ProgramBuilder('pipeline', sizes);
  const tensor = (name: string, stage: number) => {
    builder.external(name, dtype, shape);
    return group.createTensor({ name, dtype, shape, usage: 'state', stage });
  };
  builder.external('ids', 'u32', [4, 2]);
  const ids = group.createTensor({ name: 'ids', dtype: 'u32', shape: [4, 2], usage: 'state' });
  const bindings = { x: tensor('x', 0), y: tensor('y', 1), added: tensor('added', 1), z: tensor('z', 2), ids };
  builder.onStage(0);
  builder.add({ op: 'send', x: 'x', toStage: 1 });
  builder.onStage(1);
  builder.add({ op: 'recv', out: 'y', fromStage: 0 });
  builder.add({ op: 'add', a: 'y', b: 'added', out: 'y' });
  builder.add({ op: 'send', x: 'y', toStage: 2 });
  builder.onStage(2);
  builder.add({ op: 'recv', out: 'z', fromStage: 1 });
  builder.onStage(undefined);
  builder.add({ op: 'broadcast', x: 'ids', fromStage: 2 });
  const executable = await group.compile(builder.build(), bindings);
  const raw = values(dtype, count)(0);
  group.write(bindings.x, raw);
  group.write(bindings.added, raw);
  const parts = (ids as unknown as { parts: readonly (readonly never[])[] }).parts.flat();
  devices.flat().forEach((device, stage) => {
    device.write(parts[stage]!, new Uint32Array(8).fill(stage));
  });
  group.submit([{ executable, sizes }], 3);
  const z = dtype === 'f32' ? new Float32Array(count) : new Uint16Array(count);
  await group.read(bindings.z, 0, z);
  expect([...decodeFloats(dtype, z)]).toEqual(Array.from({ length: count }, (_, i) => 2 * numberOf(0, i)));
  for (const [stage, device] of devices.flat().entries()) {
    const into = new Uint32Array(8);
    await device.read(parts[stage]!, 0, into);
    expect([...into]).toEqual(new Array(8).fill(2));
  }
});

describe('a rank that fails', () => {
  const ops: Op[] = [
    { op: 'add', a: 'x', b: 'x', out: 'y' },
    { op: 'allReduce', x: 'y', out: 'y' },
  ];
  const tensors = {
    x: { dtype: 'f32', shape: [1, 4], data: () => new Float32Array(4).fill(1) },
    y: { dtype: 'f32', shape: [1, 4] },
  } as const;

  it.each([2, 719])('with error %i ends the group and is named, and nobody waits for ever', async code => {
    await open({ tensorParallelSize: RANKS });
    const { bindings, executable } = await prepare(ops, tensors);
    await group.synchronize();
    // One launch of one rank fails: the others stand in the sum.
    emulator.injectError(code, 0);
    group.submit([{ executable, sizes }]);
    const pending = [group.read(bindings.y!, 0, new Float32Array(4)), group.synchronize()];
    for (const result of await Promise.allSettled(pending)) {
      expect(result).toMatchObject({ status: 'rejected', reason: expect.any(DeviceLostError) });
    }
    const lost = await group.lost;
    expect(lost.message).toMatch(/^Rank \d of the group failed: The device was lost: .*cudaError/);
    group.submit([{ executable, sizes }]);
    await expect(group.synchronize()).rejects.toThrow(/^Rank \d of the group failed/);
    await group.dispose();
    expect(group.allocatedBytes()).toBe(0);
  });

  it('leaves the others behind when the group is disposed in the middle of a step', async () => {
    await open({ tensorParallelSize: RANKS });
    const { bindings, executable } = await prepare(ops, tensors);
    for (let i = 0; i < 10; i++) group.submit([{ executable, sizes }]);
    // One of them never comes.
    devices[0]![2]!.submit = () => {};
    group.submit([{ executable, sizes }]);
    const read = expect(group.read(bindings.y!, 0, new Float32Array(4))).rejects.toBeInstanceOf(DeviceLostError);
    await group.dispose();
    await read;
    expect(group.allocatedBytes()).toBe(0);
  });

  it('keeps nobody waiting when it has no memory to join with', async () => {
    await open({ tensorParallelSize: RANKS });
    for (let call = 0; call < 60; call += 3) {
      emulator.injectError(2, call);
      const opened = await openTestCudaEmuGroup({ tensorParallelSize: RANKS }).catch(error => error as Error);
      emulator.injectError(0, -1);
      if (!(opened instanceof Error)) await opened.group.dispose();
      else expect(opened.message).toMatch(/cudaErrorMemoryAllocation|found 0 GPUs/);
    }
  });

  it('is not opened at all where there are too few GPUs, or no NCCL', async () => {
    await open({ tensorParallelSize: RANKS });
    await expect(openTestCudaEmuGroup({ tensorParallelSize: 3, pipelineParallelSize: 3 })).rejects.toThrow(
      'found 8 GPUs, expected 9: 3 ranks in each of 3 stages.',
    );
    const script = `
      import { openDevice } from './packages/server/dist/node/open-device.js';
      await openDevice('cuda-emu', { tensorParallelSize: 2 }).catch(error => console.log(error.name, error.option, error.message));
    `;
    const env = { ...process.env, QUIRE_NCCL: '/nowhere/libnccl.so.2' };
    const { stdout } = spawnSync('node', ['--input-type=module', '-e', script], { env, encoding: 'utf8' });
    expect(stdout).toMatch(
      /^ConfigError tensorParallelSize The device "cuda-emu" cannot be opened: .*\(libnccl\.so\.2\): QUIRE_NCCL names .*nowhere.*Install it/,
    );
  });
});
