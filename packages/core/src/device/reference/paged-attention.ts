import { SEQUENCE_WORDS, Sequence } from '../../contract/contract.ts';
import { type Kernel, type Scratch, scratch32, scratch64 } from './lib/kernel.ts';
import { dotProducts, weightedSum } from './lib/rows.ts';
import type { Floats } from './lib/views.ts';

type Values = Float32Array | Float64Array;

/** Room for values as they are, and for codes times their scales. */
interface Scratches {
  readonly plain: Scratch<Float32Array>;
  readonly scaled: Scratch<Float64Array>;
}
const scratches = (): Scratches => ({ plain: scratch32(), scaled: scratch64() });

/**
 * out = softmax(softCap(scale q . k)) v over the visible positions of the cached context, per query token and head. Sequences
 * take turns: keys and values of one KV head are gathered from the pages once, then all its queries pass over them.
 */
export const pagedAttention: Kernel<'pagedAttention'> = (op, tensors) => {
  const { qkv, kCache, vCache, kScales, vScales, sequences, blockTables, out } = tensors;
  const { heads, kvHeads, headDim, blockSize } = op;
  const [keyScratch, valueScratch, scoreScratch] = [scratches(), scratches(), scratch64()];
  const [query, result] = [new Float64Array(headDim), new Float64Array(headDim)];
  const zeros = new Float64Array(out.width);
  const pageScales = new Float64Array(blockSize);
  /** Elements of one block of one head. */
  const pageSize = blockSize * headDim;
  let cacheBlocks = 0;

  /** The blocks of a row's context that hold positions first .. end, one after the other. */
  function gather(
    cache: Floats,
    scales: Floats | undefined,
    scratch: Scratches,
    row: number,
    kvHead: number,
    first: number,
    end: number,
  ): Values {
    const firstBlock = Math.floor(first / blockSize);
    const blocks = Math.ceil(end / blockSize) - firstBlock;
    // A code times its scale has more bits than f32.
    const whole = scales === undefined ? scratch.plain.take(blocks * pageSize) : null;
    const scaled = scratch.scaled.take(scales === undefined ? 0 : blocks * pageSize);
    for (let i = 0; i < blocks; i++) {
      const block = blockTables.data[row * blockTables.width + firstBlock + i]!;
      if (block >= cacheBlocks) {
        throw new RangeError(`row ${row} has block ${block}, the cache has ${cacheBlocks} blocks`);
      }
      const slots = Math.min(blockSize, end - (firstBlock + i) * blockSize);
      const page = block * kvHeads + kvHead;
      if (whole !== null) cache.loadF32(page * pageSize, slots * headDim, whole, i * pageSize);
      if (scales === undefined) continue;
      cache.load(page * pageSize, slots * headDim, scaled, i * pageSize);
      scales.load(page * blockSize, slots, pageScales);
      for (let j = 0; j < slots * headDim; j++) scaled[i * pageSize + j]! *= pageScales[Math.floor(j / headDim)]!;
    }
    return whole ?? scaled;
  }

  function attendHead(token: number, head: number, keys: Values, values: Values, from: number, to: number) {
    const visible = to - from;
    const weights = scoreScratch.take(visible);
    qkv.load(token * qkv.width + head * headDim, headDim, query);
    dotProducts(keys, from, visible, query, 0, headDim, weights);
    softmax(weights, visible, op.scale, op.softCap);
    weightedSum(values, from, visible, weights, headDim, result);
    out.store(token * out.width + head * headDim, headDim, result);
  }

  /** First position that the query token at `position` sees. */
  const firstVisible = (position: number) => (op.window > 0 ? Math.max(0, position + 1 - op.window) : 0);

  function attendSequence(sequence: Uint32Array): void {
    const [row, contextLen] = [sequence[Sequence.row]!, sequence[Sequence.contextLen]!];
    const [queryStart, queryLen] = [sequence[Sequence.queryStart]!, sequence[Sequence.queryLen]!];
    const first = firstVisible(sequence[Sequence.firstPosition]!);
    const gathered = Math.floor(first / blockSize) * blockSize;
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const keys = gather(kCache, kScales, keyScratch, row, kvHead, first, contextLen);
      const values = gather(vCache, vScales, valueScratch, row, kvHead, first, contextLen);
      for (let head = 0; head < heads; head++) {
        if (Math.floor((head * kvHeads) / heads) !== kvHead) continue;
        for (let i = 0; i < queryLen; i++) {
          const position = contextLen - queryLen + i;
          attendHead(queryStart + i, head, keys, values, firstVisible(position) - gathered, position + 1 - gathered);
        }
      }
    }
  }

  return sizes => {
    const tokens = out.rows(sizes);
    cacheBlocks = kCache.rows(sizes);
    for (let t = 0; t < tokens; t++) out.store(t * out.width, out.width, zeros);
    const count = sequences.rows(sizes);
    for (let index = 0; index < count; index++) {
      const sequence = sequences.data.subarray(index * SEQUENCE_WORDS, (index + 1) * SEQUENCE_WORDS);
      if (sequence[Sequence.contextLen] !== 0) attendSequence(sequence);
    }
  };
};

/** scores[i] becomes exp(s_i - max) / sum, with s the scaled and capped score, for i < count. */
function softmax(scores: Float64Array, count: number, scale: number, softCap: number): void {
  let max = -Infinity;
  for (let i = 0; i < count; i++) {
    const score = scores[i]! * scale;
    scores[i] = softCap > 0 ? softCap * Math.tanh(score / softCap) : score;
    if (scores[i]! > max) max = scores[i]!;
  }
  let sum = 0;
  for (let i = 0; i < count; i++) {
    scores[i] = Math.exp(scores[i]! - max);
    sum += scores[i]!;
  }
  for (let i = 0; i < count; i++) scores[i]! /= sum;
}
