/** A group of reference devices as a Device: exchanges, order, and what happens when one rank fails. */
import { type Device, DeviceLostError, type Op, type TypedArray } from '@quire/core/contract';
import { ProgramBuilder } from '@quire/core/program';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openReferenceGroup } from '../../packages/server/src/node/reference-group.ts';
import { build } from '../server/build.ts';
import { noSizes as sizes } from '../unit/reference/run-op.ts';

const RANKS = 3;

let group: Device;
beforeAll(build);
afterEach(() => group.dispose());

interface Tensor {
  readonly dtype: 'f32' | 'u32';
  readonly shape: readonly number[];
  /** Of each rank, or of all alike. */
  readonly data?: (rank: number) => TypedArray;
}

async function* once(data: TypedArray): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Compiles ops on external tensors, filled for each rank on its own. */
async function prepare(ops: readonly Op[], tensors: Readonly<Record<string, Tensor>>) {
  group = await openReferenceGroup({ tensorParallelSize: RANKS });
  const builder = new ProgramBuilder('test', sizes);
  const bindings = Object.fromEntries(
    Object.entries(tensors).map(([name, { dtype, shape }]) => {
      builder.external(name, dtype, shape);
      return [name, group.createTensor({ name, dtype, shape, usage: 'state' })];
    }),
  );
  for (const [name, { data }] of Object.entries(tensors)) {
    for (let rank = 0; data !== undefined && rank < RANKS; rank++) {
      await group.upload(bindings[name]!, once(data(rank)), rank);
    }
  }
  for (const op of ops) builder.add(op);
  return { bindings, executable: await group.compile(builder.build(), bindings) };
}

async function run(ops: readonly Op[], tensors: Readonly<Record<string, Tensor>>, out: string): Promise<number[]> {
  const { bindings, executable } = await prepare(ops, tensors);
  group.submit([{ executable, sizes }]);
  const result = new Float32Array(tensors[out]!.shape.reduce((product, dim) => product * dim, 1));
  await group.read(bindings[out]!, 0, result);
  return [...result];
}

const floats = (...values: number[]) => Float32Array.from(values);

describe('exchanges', () => {
  it('add what the ranks have, and the residual once', async () => {
    const out = await run(
      [{ op: 'allReduce', x: 'x', residual: 'r', out: 'out' }],
      {
        x: { dtype: 'f32', shape: [2, 2], data: rank => floats(1, 10, 100, 1000).map(value => value * (rank + 1)) },
        r: { dtype: 'f32', shape: [2, 2], data: () => floats(0.5, 0.25, 0, -1) },
        out: { dtype: 'f32', shape: [2, 2] },
      },
      'out',
    );
    expect(out).toEqual([6.5, 60.25, 600, 5999]);
  });

  it('add in the order of the ranks, in f64, and round once', async () => {
    const parts = [1, 2 ** -24, 2 ** -24];
    const out = await run(
      [{ op: 'allReduce', x: 'x', out: 'x' }],
      {
        x: { dtype: 'f32', shape: [1, 1], data: rank => floats(parts[rank]!) },
      },
      'x',
    );
    expect(out).toEqual([1 + 2 ** -23]);
  });

  it('go piece by piece through tensors above the shared memory', async () => {
    const shape = [3, 40_001];
    const out = await run(
      [{ op: 'allReduce', x: 'x', out: 'x' }],
      {
        x: { dtype: 'f32', shape, data: rank => Float32Array.from({ length: 3 * 40_001 }, (_, i) => i * (rank + 1)) },
      },
      'x',
    );
    expect(out.every((value, i) => value === Math.fround(6 * i))).toBe(true);
  });

  it('put columns side by side, and drop the padding of the last rank', async () => {
    const out = await run(
      [{ op: 'allGather', x: 'x', out: 'out' }],
      {
        x: { dtype: 'f32', shape: [2, 2], data: rank => floats(1, 2, 3, 4).map(value => value + 10 * rank) },
        out: { dtype: 'f32', shape: [2, 5] },
      },
      'out',
    );
    expect(out).toEqual([1, 2, 11, 12, 21, 3, 4, 13, 14, 23]);
  });

  it('look up rows wherever they are', async () => {
    const ops: Op[] = [
      { op: 'vocabParallelEmbed', ids: 'ids', table: 'low', out: 'out', rowsPerRank: 4, firstRow: 0 },
      { op: 'vocabParallelEmbed', ids: 'ids', table: 'high', out: 'out', rowsPerRank: 4, firstRow: 3 },
      { op: 'allReduce', x: 'out', out: 'out' },
    ];
    const ids = [0, 3, 4, 10, 11, 7];
    const out = await run(
      ops,
      {
        ids: { dtype: 'u32', shape: [6], data: () => Uint32Array.from(ids) },
        low: { dtype: 'f32', shape: [3, 1], data: rank => floats(0, 1, 2).map(row => 100 + 4 * rank + row) },
        high: { dtype: 'f32', shape: [1, 1], data: rank => floats(100 + 4 * rank + 3) },
        out: { dtype: 'f32', shape: [6, 1] },
      },
      'out',
    );
    expect(out).toEqual(ids.map(id => 100 + id));
  });
});

describe('a pipeline', () => {
  it('sends and receives tensors above the shared memory, repeat after repeat', async () => {
    group = await openReferenceGroup({ pipelineParallelSize: 3 });
    const shape = [2, 40_000];
    const builder = new ProgramBuilder('pipeline', sizes);
    const tensor = (name: string, stage: number) =>
      group.createTensor({ name: builder.external(name, 'f32', shape), dtype: 'f32', shape, usage: 'state', stage });
    const bindings = { x: tensor('x', 0), y: tensor('y', 1), added: tensor('added', 1), z: tensor('z', 2) };
    builder.onStage(0);
    builder.add({ op: 'send', x: 'x', toStage: 1 });
    builder.onStage(1);
    builder.add({ op: 'recv', out: 'y', fromStage: 0 });
    builder.add({ op: 'add', a: 'y', b: 'added', out: 'y' });
    builder.add({ op: 'send', x: 'y', toStage: 2 });
    builder.onStage(2);
    builder.add({ op: 'recv', out: 'z', fromStage: 1 });
    const executable = await group.compile(builder.build(), bindings);
    const values = Float32Array.from({ length: 80_000 }, (_, i) => i / 7);
    group.write(bindings.x, values);
    group.write(bindings.added, values);
    group.submit([{ executable, sizes }], 3);
    const z = new Float32Array(80_000);
    await group.read(bindings.z, 0, z);
    expect(z.every((value, i) => value === 2 * values[i]!)).toBe(true);
    expect(() => group.createTensor({ name: 'v', dtype: 'f32', shape: [1], usage: 'state', stage: 3 })).toThrow(
      'found stage 3, expected 0 .. 2',
    );
  });
});

describe('order', () => {
  it('of writes, submits and reads is that of the calls, on every rank', async () => {
    const { bindings, executable } = await prepare([{ op: 'allReduce', x: 'x', residual: 'r', out: 'out' }], {
      x: { dtype: 'f32', shape: [1, 1] },
      r: { dtype: 'f32', shape: [1, 1] },
      out: { dtype: 'f32', shape: [1, 1] },
    });
    const results = Array.from({ length: 20 }, () => new Float32Array(1));
    const reads = results.map((into, i) => {
      const value = floats(i);
      group.write(bindings.x!, value);
      // The write has its own copy.
      value[0] = -1;
      group.submit([{ executable, sizes }], 2);
      return group.read(bindings.out!, 0, into);
    });
    await Promise.all(reads);
    expect(results.map(([value]) => value)).toEqual(results.map((_, i) => RANKS * i));
    expect(executable.opCounts()).toEqual({ allReduce: 40 });
  });
});

describe('a rank that fails', () => {
  /** Rank 1 gathers a row that is not there, before all ranks are to meet. */
  async function failing() {
    return prepare(
      [
        { op: 'gatherRows', x: 'x', samples: 'samples', out: 'y' },
        { op: 'allReduce', x: 'y', out: 'y' },
      ],
      {
        x: { dtype: 'f32', shape: [2, 1], data: () => floats(1, 2) },
        samples: { dtype: 'u32', shape: [1, 4], data: rank => Uint32Array.of(rank === 1 ? 7 : 1, 0, 0, 0) },
        y: { dtype: 'f32', shape: [1, 1] },
      },
    );
  }

  it('ends the group, and nobody waits for ever', async () => {
    const { bindings, executable } = await failing();
    group.submit([{ executable, sizes }]);
    const read = group.read(bindings.y!, 0, new Float32Array(1));
    await expect(read).rejects.toBeInstanceOf(DeviceLostError);
    expect(await group.lost).toBeInstanceOf(DeviceLostError);
    // After loss every call rejects at once, and submit does nothing.
    group.submit([{ executable, sizes }]);
    await expect(group.synchronize()).rejects.toBeInstanceOf(DeviceLostError);
  });

  it('is released with the others when the group is disposed in the middle of a step', async () => {
    const { bindings, executable } = await prepare([{ op: 'allReduce', x: 'x', out: 'x' }], {
      x: { dtype: 'f32', shape: [100, 1000] },
    });
    for (let i = 0; i < 10; i++) group.submit([{ executable, sizes }]);
    const read = expect(group.read(bindings.x!, 0, new Float32Array(1))).rejects.toBeInstanceOf(DeviceLostError);
    await group.dispose();
    await read;
    expect(group.allocatedBytes()).toBe(0);
  });
});
