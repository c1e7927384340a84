import { type OpOf, Sequence } from '@quire/core/contract';
import { range, sum, type Tensors } from './tensors.ts';

/** softmax(q K^T) V, position by position through the block table. */
export function pagedAttention(op: OpOf<'pagedAttention'>, t: Tensors): void {
  t.values(op.out).fill(0);
  for (const index of range(t.sizes.sequences)) {
    const word = (at: number) => t.at(op.sequences, index, at);
    if (word(Sequence.contextLen) === 0) continue;
    for (const j of range(word(Sequence.queryLen))) {
      const position = word(Sequence.contextLen) - word(Sequence.queryLen) + j;
      for (const head of range(op.heads))
        attend(op, t, word(Sequence.row), word(Sequence.queryStart) + j, head, position);
    }
  }
}

function attend(
  op: OpOf<'pagedAttention'>,
  t: Tensors,
  row: number,
  token: number,
  head: number,
  position: number,
): void {
  const kvHead = Math.floor(head / (op.heads / op.kvHeads));
  const visible = range(position + 1).filter(p => op.window === 0 || position - p < op.window);
  const element = (cache: string, scales: string | undefined, p: number, d: number) => {
    const place = [t.at(op.blockTables, row, Math.floor(p / op.blockSize)), kvHead, p % op.blockSize];
    return t.at(cache, ...place, d) * (scales === undefined ? 1 : t.at(scales, ...place));
  };
  const dims = range(op.headDim);
  const scores = visible.map(p => {
    const score =
      op.scale * sum(dims.map(d => t.at(op.qkv, token, head * op.headDim + d) * element(op.kCache, op.kScales, p, d)));
    return op.softCap === 0 ? score : op.softCap * Math.tanh(score / op.softCap);
  });
  const largest = Math.max(...scores);
  const weights = scores.map(score => Math.exp(score - largest));
  const total = sum(weights);
  for (const d of dims) {
    const mean = sum(visible.map((p, i) => (weights[i]! / total) * element(op.vCache, op.vScales, p, d)));
    t.set(op.out, mean, token, head * op.headDim + d);
  }
}
