/** A row comes out bit for bit the same in every batch, although the number of rows decides which kernel runs. */
import type { WebGpuDevice, WebGpuOptions } from '@quire/backend-webgpu';
import { type DType, isQuantDType, quantFormats, SEQUENCE_WORDS, Sequence } from '@quire/core/contract';
import { encodeFloats, ProgramBuilder, quantizeRows } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { floatTensor, noise, noSizes, openWebGpu } from './fixtures.ts';

const MAX_ROWS = 19;
const lanes = [
  'one',
  'subgroup',
  'workgroup',
  'columns',
  'integers',
] as const satisfies readonly WebGpuOptions['lanes'][];

interface Layer {
  readonly op: 'linear' | 'gatedLinear';
  readonly dtype: DType;
  readonly depth: number;
  /** Behind a norm of its own. */
  readonly normed: boolean;
}

/** Bits of out[0 .. rows) of a linear layer over the first `rows` rows of x, for each of `counts`. */
async function linearRows(device: WebGpuDevice, { op, dtype, depth, normed }: Layer, counts: readonly number[]) {
  const columns = 13;
  const weightRows = op === 'linear' ? columns : 2 * columns;
  const builder = new ProgramBuilder(op, { ...noSizes, tokens: MAX_ROWS });
  builder.external('x', 'f32', ['tokens', depth]);
  builder.external('weight', dtype, [weightRows, depth]);
  builder.external('out', 'f32', ['tokens', columns]);
  if (normed) {
    builder.external('normWeight', 'f32', [depth]);
    builder.temporary('normed', 'f32', ['tokens', depth]);
    builder.add({ op: 'rmsNorm', x: 'x', weight: 'normWeight', out: 'normed', eps: 1e-5 });
  }
  const layer = { x: normed ? 'normed' : 'x', weight: 'weight', out: 'out', activation: 'gelu' } as const;
  builder.add(op === 'linear' ? { op, ...layer, outColumn: 0 } : { op, ...layer });
  const weight = device.createTensor({ name: 'weight', dtype, shape: [weightRows, depth], usage: 'weight' });
  const values = Float32Array.from(noise(weightRows * depth, 3));
  device.write(weight, isQuantDType(dtype) ? quantizeRows(dtype, values, depth) : encodeFloats(dtype, values));
  const x = floatTensor(device, 'x', noise(MAX_ROWS * depth), [MAX_ROWS, depth]);
  const out = floatTensor(device, 'out', new Array(MAX_ROWS * columns).fill(0), [MAX_ROWS, columns]);
  const normWeight = floatTensor(device, 'normWeight', noise(depth, 7), [depth]);
  const bindings = { x, weight, out, ...(normed && { normWeight }) };
  const executable = await device.compile(builder.build(), bindings);
  const results: number[][] = [];
  for (const tokens of counts) {
    device.submit([{ executable, sizes: { ...noSizes, tokens } }]);
    const into = new Float32Array(tokens * columns);
    await device.read(out, 0, into);
    results.push([...new Uint32Array(into.buffer)]);
  }
  return results;
}

/** Queries of a sequence in one step: of a prompt, or one by one as decode rows, in groups for each segment where they are split. */
type Chunk = number | 'decode' | 'split';

interface Context {
  readonly positions: number;
  readonly blockSize: number;
  readonly window: number;
}

/** Bits of the attention of a sequence's queries, cut into chunks. */
async function attentionChunks(device: WebGpuDevice, sequence: Context, chunks: readonly Chunk[]) {
  const { positions: total, blockSize, window } = sequence;
  const shape = { heads: 4, kvHeads: 2, headDim: 32, blockSize };
  const blocks = Math.ceil(total / blockSize);
  const numBlocks = 3 * blocks + 1;
  const sizes = { ...noSizes, tokens: total, sequences: 1, decodeSequences: 1, maxQueryTokens: total };
  const builder = new ProgramBuilder('attention', { ...sizes, blocksPerSequence: blocks });
  builder.external('qkv', 'f32', ['tokens', 256]);
  for (const cache of ['kCache', 'vCache']) builder.external(cache, 'f32', [numBlocks, 2, blockSize, 32]);
  builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
  builder.external('blockTables', 'u32', [1, blocks]);
  builder.external('out', 'f32', ['tokens', 128]);
  const names = { qkv: 'qkv', kCache: 'kCache', vCache: 'vCache', sequences: 'sequences', blockTables: 'blockTables' };
  builder.add({ op: 'pagedAttention', ...names, out: 'out', scale: 0.2, window, softCap: 0, ...shape });
  const cacheShape = [numBlocks, 2, blockSize, 32];
  const caches = [2, 5].map(seed => floatTensor(device, 'cache', noise(numBlocks * blockSize * 64, seed), cacheShape));
  const queries = Float32Array.from(noise(total * 256));
  const qkv = floatTensor(device, 'qkv', new Array(total * 256).fill(0), [total, 256]);
  const out = floatTensor(device, 'out', new Array(total * 128).fill(0), [total, 128]);
  const words = (name: string, shape: number[]) => device.createTensor({ name, dtype: 'u32', shape, usage: 'state' });
  const [sequences, blockTables] = [words('sequences', [1, SEQUENCE_WORDS]), words('blockTables', [1, blocks])];
  device.write(
    blockTables,
    Uint32Array.from({ length: blocks }, (_, i) => (7 * i + 3) % numBlocks),
  );
  const bindings = { qkv, kCache: caches[0]!, vCache: caches[1]!, sequences, blockTables, out };
  const executable = await device.compile(builder.build(), bindings);
  const results: number[][] = [];
  let position = 0;
  for (const chunk of chunks) {
    const length = typeof chunk === 'number' ? chunk : 1;
    const record = new Uint32Array(SEQUENCE_WORDS);
    record[Sequence.queryLen] = length;
    record[Sequence.contextLen] = position + length;
    record[Sequence.firstPosition] = position;
    device.write(sequences, record);
    device.write(qkv, queries.slice(position * 256, (position + length) * 256));
    const decodeSequences = typeof chunk === 'number' ? 0 : 1;
    // Attention is split where the longest block table has more than one segment.
    const blocksPerSequence = chunk === 'split' ? blocks : 0;
    const step = { ...sizes, tokens: length, decodeSequences, blocksPerSequence, maxQueryTokens: length };
    device.submit([{ executable, sizes: step }]);
    const into = new Float32Array(length * 128);
    await device.read(out, 0, into);
    results.push([...new Uint32Array(into.buffer)]);
    position += length;
  }
  return results.flat();
}

const dtypesOf: Record<(typeof lanes)[number], readonly DType[]> = {
  one: ['f32', 'f16', 'bf16'],
  subgroup: ['f32'],
  workgroup: ['f32'],
  columns: ['f32', 'q8', 'q4_32', 'q4_128z'],
  integers: ['q8', 'q4_32', 'q4_128z'],
};

/** Depths that leave something over wherever depth is cut. */
function depthsOf(dtype: DType, kind: (typeof lanes)[number]): number[] {
  if (!isQuantDType(dtype)) return [68, 30];
  // Sums of integers take whole groups of 32.
  if (kind === 'integers') return [3 * Math.max(quantFormats[dtype].group, 32)];
  const { bits, group } = quantFormats[dtype];
  return bits === 8 ? [68, 30] : [3 * group];
}

describe.each(lanes)('with lanes "%s"', async kind => {
  const device = await openWebGpu({ lanes: kind });

  const dtypes = dtypesOf[kind];
  const layers = (['linear', 'gatedLinear'] as const).flatMap(op => dtypes.map(dtype => [op, dtype] as const));
  it.each(layers)('%s over %s weights, with and without a norm', async (op, dtype) => {
    for (const depth of depthsOf(dtype, kind)) {
      for (const normed of [false, true]) {
        const [all, ...others] = await linearRows(device, { op, dtype, depth, normed }, [MAX_ROWS, 1, 2, 4, 5, 8, 9]);
        expect(all!.some(bits => bits !== 0)).toBe(true);
        for (const rows of others) expect(rows).toEqual(all!.slice(0, rows.length));
      }
    }
    expect(device.dispatchedVariants().some(name => name.endsWith('input_normed]'))).toBe(true);
  });

  // These are ways of linear layers; attention is that of subgroups.
  if (kind === 'columns' || kind === 'integers') return;
  const short = { positions: 22, blockSize: 4, window: 9 };
  it('attention, however a prompt is cut', async () => {
    const whole = await attentionChunks(device, short, [22]);
    expect(new Set(whole).size).toBeGreaterThan(2000);
    expect(await attentionChunks(device, short, [5, 1, 9, 7])).toEqual(whole);
    expect(await attentionChunks(device, short, new Array(22).fill('decode'))).toEqual(whole);
  });

  it.each([0, 40])('attention over segments, split or not, with a window of %i', async window => {
    const long = { positions: 300, blockSize: 16, window };
    const whole = await attentionChunks(device, long, [300]);
    const ends: Chunk[] = ['split', 'decode', 'split', 'split'];
    const cut = await attentionChunks(device, long, [
      254,
      'split',
      'decode',
      'split',
      33,
      'split',
      'decode',
      4,
      ...ends,
    ]);
    expect(cut).toEqual(whole);
    const split = device.dispatchedVariants().filter(name => name.startsWith('paged_attention/'));
    expect(split.map(name => name.split('[')[0])).toEqual([
      'paged_attention/join',
      'paged_attention/split',
      'paged_attention/whole',
    ]);
  });
});
