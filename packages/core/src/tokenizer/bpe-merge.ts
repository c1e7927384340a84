import type { MergeTable } from './merge-table.ts';
import { MinHeap } from './min-heap.ts';

/** Words up to this many symbols share scratch arrays; longer ones bring their own, so that no large array is kept. */
const SCRATCH = 1024;

/**
 * Byte-pair merging in O(n log n): a heap holds the mergeable neighbours by (rank, position), so the lowest rank goes first and
 * the leftmost of equals (Sennrich et al. 2016; order of Hugging Face's tokenizers). Stale heap entries are told by their rank.
 */
export class BpeMerger {
  readonly #table: MergeTable;
  readonly #heap = new MinHeap();
  readonly #previous = new Int32Array(SCRATCH);
  readonly #next = new Int32Array(SCRATCH);

  constructor(table: MergeTable) {
    this.#table = table;
  }

  /** Merges ids[0, count) in place and returns how many are left, compacted to the front. */
  merge(ids: Int32Array, count: number): number {
    if (count < 2) return count;
    const previous = count <= SCRATCH ? this.#previous : new Int32Array(count);
    const next = count <= SCRATCH ? this.#next : new Int32Array(count);
    this.#heap.clear();
    for (let i = 0; i < count; i++) {
      previous[i] = i - 1;
      next[i] = i + 1 < count ? i + 1 : -1;
    }
    for (let i = 0; i + 1 < count; i++) this.#offer(ids, count, i, i + 1);
    this.#mergeAll(ids, count, previous, next);
    return compact(ids, next);
  }

  #mergeAll(ids: Int32Array, count: number, previous: Int32Array, next: Int32Array): void {
    const table = this.#table;
    while (this.#heap.size > 0) {
      const key = this.#heap.pop();
      const at = key % count;
      const right = next[at]!;
      if (ids[at]! < 0 || right < 0) continue;
      const slot = table.find(ids[at]!, ids[right]!);
      if (slot < 0 || table.rank(slot) !== (key - at) / count) continue;
      const after = next[right]!;
      ids[at] = table.merged(slot);
      ids[right] = -1;
      next[at] = after;
      if (after >= 0) {
        previous[after] = at;
        this.#offer(ids, count, at, after);
      }
      if (previous[at]! >= 0) this.#offer(ids, count, previous[at]!, at);
    }
  }

  #offer(ids: Int32Array, count: number, left: number, right: number): void {
    const slot = this.#table.find(ids[left]!, ids[right]!);
    // rank * count + position is exact: ranks and positions stay far below 2^26.
    if (slot >= 0) this.#heap.push(this.#table.rank(slot) * count + left);
  }
}

function compact(ids: Int32Array, next: Int32Array): number {
  let kept = 0;
  for (let i = 0; i >= 0; i = next[i]!) ids[kept++] = ids[i]!;
  return kept;
}
