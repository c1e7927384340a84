/** A row comes out bit for bit the same in every batch, although the number of rows decides which kernel runs. */
import type { WebGpuDevice, WebGpuOptions } from '@quire/backend-webgpu';
import { type DType, isQuantDType, quantFormats, SEQUENCE_WORDS, Sequence } from '@quire/core/contract';
import { encodeFloats, ProgramBuilder, quantizeRows } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { floatTensor, noise, noSizes, openWebGpu } from './fixtures.ts';

const MAX_ROWS = 19;
const lanes = ['one', 'subgroup', 'workgroup', 'columns'] as const satisfies readonly WebGpuOptions['lanes'][];

/** Bits of out[0 .. rows) of a linear layer over the first `rows` rows of x, for each of `counts`. */
async function linearRows(
  device: WebGpuDevice,
  op: 'linear' | 'gatedLinear',
  dtype: DType,
  depth: number,
  counts: readonly number[],
) {
  const columns = 13;
  const weightRows = op === 'linear' ? columns : 2 * columns;
  const builder = new ProgramBuilder(op, { ...noSizes, tokens: MAX_ROWS });
  builder.external('x', 'f32', ['tokens', depth]);
  builder.external('weight', dtype, [weightRows, depth]);
  builder.external('out', 'f32', ['tokens', columns]);
  const layer = { x: 'x', weight: 'weight', out: 'out', activation: 'gelu' } as const;
  builder.add(op === 'linear' ? { op, ...layer, outColumn: 0 } : { op, ...layer });
  const weight = device.createTensor({ name: 'weight', dtype, shape: [weightRows, depth], usage: 'weight' });
  const values = Float32Array.from(noise(weightRows * depth, 3));
  device.write(weight, isQuantDType(dtype) ? quantizeRows(dtype, values, depth) : encodeFloats(dtype, values));
  const x = floatTensor(device, 'x', noise(MAX_ROWS * depth), [MAX_ROWS, depth]);
  const out = floatTensor(device, 'out', new Array(MAX_ROWS * columns).fill(0), [MAX_ROWS, columns]);
  const executable = await device.compile(builder.build(), { x, weight, out });
  const results: number[][] = [];
  for (const tokens of counts) {
    device.submit([{ executable, sizes: { ...noSizes, tokens } }]);
    const into = new Float32Array(tokens * columns);
    await device.read(out, 0, into);
    results.push([...new Uint32Array(into.buffer)]);
  }
  return results;
}

/** Bits of the attention of a sequence's queries, cut into chunks of the given lengths. */
async function attentionChunks(device: WebGpuDevice, chunks: readonly number[], asDecode: boolean) {
  const shape = { heads: 4, kvHeads: 2, headDim: 32, blockSize: 4 };
  const total = chunks.reduce((sum, length) => sum + length, 0);
  const sizes = { ...noSizes, tokens: total, sequences: 1, decodeSequences: 1, maxQueryTokens: total };
  const builder = new ProgramBuilder('attention', sizes);
  builder.external('qkv', 'f32', ['tokens', 256]);
  for (const cache of ['kCache', 'vCache']) builder.external(cache, 'f32', [12, 2, 4, 32]);
  builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
  builder.external('blockTables', 'u32', [1, 12]);
  builder.external('out', 'f32', ['tokens', 128]);
  const tensors = {
    qkv: 'qkv',
    kCache: 'kCache',
    vCache: 'vCache',
    sequences: 'sequences',
    blockTables: 'blockTables',
  };
  builder.add({ op: 'pagedAttention', ...tensors, out: 'out', scale: 0.2, window: 9, softCap: 0, ...shape });
  const caches = [2, 5].map(seed => floatTensor(device, 'cache', noise(12 * 256, seed), [12, 2, 4, 32]));
  const qkv = floatTensor(device, 'qkv', new Array(total * 256).fill(0), [total, 256]);
  const out = floatTensor(device, 'out', new Array(total * 128).fill(0), [total, 128]);
  const words = (name: string, shape: number[]) => device.createTensor({ name, dtype: 'u32', shape, usage: 'state' });
  const [sequences, blockTables] = [words('sequences', [1, SEQUENCE_WORDS]), words('blockTables', [1, 12])];
  device.write(blockTables, Uint32Array.of(7, 3, 11, 0, 9, 1, 5, 2, 10, 4, 8, 6));
  const bindings = { qkv, kCache: caches[0]!, vCache: caches[1]!, sequences, blockTables, out };
  const executable = await device.compile(builder.build(), bindings);
  const bits: number[] = [];
  let position = 0;
  for (const length of chunks) {
    const record = new Uint32Array(SEQUENCE_WORDS);
    record[Sequence.queryLen] = length;
    record[Sequence.contextLen] = position + length;
    record[Sequence.firstPosition] = position;
    device.write(sequences, record);
    device.write(qkv, Float32Array.from(noise(total * 256).slice(position * 256, (position + length) * 256)));
    const decodeSequences = asDecode ? 1 : 0;
    device.submit([{ executable, sizes: { ...sizes, tokens: length, decodeSequences, maxQueryTokens: length } }]);
    const into = new Float32Array(length * 128);
    await device.read(out, 0, into);
    bits.push(...new Uint32Array(into.buffer));
    position += length;
  }
  return bits;
}

const dtypesOf: Record<(typeof lanes)[number], readonly DType[]> = {
  one: ['f32', 'f16', 'bf16'],
  subgroup: ['f32'],
  workgroup: ['f32'],
  columns: ['f32', 'q8', 'q4_32', 'q4_128z'],
};

/** Depths that leave something over wherever depth is cut. */
function depthsOf(dtype: DType): number[] {
  if (!isQuantDType(dtype)) return [68, 30];
  const { bits, group } = quantFormats[dtype];
  return bits === 8 ? [68, 30] : [3 * group];
}

describe.each(lanes)('with lanes "%s"', async kind => {
  const device = await openWebGpu({ lanes: kind });

  const dtypes = dtypesOf[kind];
  const layers = (['linear', 'gatedLinear'] as const).flatMap(op => dtypes.map(dtype => [op, dtype] as const));
  it.each(layers)('%s over %s weights', async (op, dtype) => {
    for (const depth of depthsOf(dtype)) {
      const [all, ...others] = await linearRows(device, op, dtype, depth, [MAX_ROWS, 1, 2, 4, 5, 8, 9]);
      expect(all!.some(bits => bits !== 0)).toBe(true);
      for (const rows of others) expect(rows).toEqual(all!.slice(0, rows.length));
    }
  });

  // Columns are a way of linear layers; attention is that of subgroups.
  if (kind === 'columns') return;
  it('attention, however a prompt is cut', async () => {
    const whole = await attentionChunks(device, [22], false);
    expect(new Set(whole).size).toBeGreaterThan(2000);
    expect(await attentionChunks(device, [5, 1, 9, 7], false)).toEqual(whole);
    expect(await attentionChunks(device, new Array(22).fill(1), true)).toEqual(whole);
  });
});
