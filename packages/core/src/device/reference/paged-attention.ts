import { SEQUENCE_WORDS, Sequence } from '../../contract/contract.ts';
import { type Kernel, Scratch } from './lib/kernel.ts';
import type { Floats } from './lib/views.ts';

/**
 * out = softmax(softCap(scale q . k)) v over the visible positions of the cached context, per query token and head. Sequences
 * take turns: keys and values of one KV head are gathered from the pages once, then all its queries pass over them.
 */
export const pagedAttention: Kernel<'pagedAttention'> = (op, tensors) => {
  const { qkv, kCache, vCache, sequences, blockTables, out } = tensors;
  const { heads, kvHeads, headDim, blockSize } = op;
  const [keyScratch, valueScratch, scoreScratch] = [new Scratch(), new Scratch(), new Scratch()];
  const [query, result] = [new Float64Array(headDim), new Float64Array(headDim)];
  const zeros = new Float64Array(out.width);

  let cacheBlocks = 0;

  /** The blocks of a row's context that hold positions first .. end, one after the other. */
  function gather(
    cache: Floats,
    scratch: Scratch,
    row: number,
    kvHead: number,
    first: number,
    end: number,
  ): Float64Array {
    const firstBlock = Math.floor(first / blockSize);
    const blocks = Math.ceil(end / blockSize) - firstBlock;
    const gathered = scratch.take(blocks * blockSize * headDim);
    for (let i = 0; i < blocks; i++) {
      const block = blockTables.data[row * blockTables.width + firstBlock + i]!;
      if (block >= cacheBlocks)
        throw new RangeError(`row ${row} has block ${block}, the cache has ${cacheBlocks} blocks`);
      const slots = Math.min(blockSize, end - (firstBlock + i) * blockSize);
      cache.load((block * kvHeads + kvHead) * blockSize * headDim, slots * headDim, gathered, i * blockSize * headDim);
    }
    return gathered;
  }

  function attendHead(
    token: number,
    head: number,
    keys: Float64Array,
    values: Float64Array,
    from: number,
    to: number,
  ): void {
    qkv.load(token * qkv.width + head * headDim, headDim, query);
    const weights = scoreScratch.take(to);
    let max = -Infinity;
    for (let p = from; p < to; p++) {
      let score = 0;
      for (let d = 0; d < headDim; d++) score += query[d]! * keys[p * headDim + d]!;
      score *= op.scale;
      if (op.softCap > 0) score = op.softCap * Math.tanh(score / op.softCap);
      weights[p] = score;
      if (score > max) max = score;
    }
    let sum = 0;
    result.fill(0);
    for (let p = from; p < to; p++) {
      const weight = Math.exp(weights[p]! - max);
      sum += weight;
      for (let d = 0; d < headDim; d++) result[d]! += weight * values[p * headDim + d]!;
    }
    for (let d = 0; d < headDim; d++) result[d]! /= sum;
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
      const keys = gather(kCache, keyScratch, row, kvHead, first, contextLen);
      const values = gather(vCache, valueScratch, row, kvHead, first, contextLen);
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
