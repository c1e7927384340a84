import type { Request } from './request.ts';
import type { SpeculativeConfig } from './speculative-config.ts';

/** A row that checks one draft, and what the device knows of it. */
export interface DraftRow {
  readonly row: number;
  /** Tokens of the sequence that the row has right; 0: nothing is known of it. */
  numTokens: number;
  /** Entries of the block table that it has. */
  numBlocks: number;
}

/**
 * Speculative decoding by prompt lookup (Saxena 2023): drafts are what followed the last n-gram of a sequence where it stood
 * before.
 *
 * Each draft is checked by a row of its own on the blocks of its request: row j holds the sequence and its first j drafts, and
 * samples the token that follows, with the noise of that position, in the very operations of plain decoding. All keys and values
 * of a step are written before any is read, so the rows see each other's drafts. A draft counts when it equals what the row
 * before it sampled: so outputs are those of plain decoding, bit for bit where logits do not depend on the batch.
 */
export class Speculator {
  readonly #config: SpeculativeConfig;
  readonly #freeRows: number[];
  readonly #rows = new Map<Request, DraftRow[]>();

  /** Rows are borrowed from `freeRows`. */
  constructor(config: SpeculativeConfig, freeRows: number[]) {
    this.#config = config;
    this.#freeRows = freeRows;
  }

  /** Puts drafts behind the known tokens of a request, `most` at most. Returns how many. */
  propose(request: Request, most: number): number {
    const { numSpeculativeTokens, promptLookupMax, promptLookupMin } = this.#config;
    const wanted = Math.min(numSpeculativeTokens, most, this.#freeRows.length + (this.#rows.get(request)?.length ?? 0));
    if (wanted <= 0) return 0;
    const { tokens, numTokens } = request;
    const end = lookUp(tokens, numTokens, promptLookupMin, promptLookupMax, wanted);
    if (end < 0) return 0;
    const count = Math.min(wanted, numTokens - end);
    request.setDrafts(tokens.subarray(end, end + count));
    return count;
  }

  /** The row that checks the index-th draft. */
  row(request: Request, index: number): DraftRow {
    let rows = this.#rows.get(request);
    if (rows === undefined) {
      rows = [];
      this.#rows.set(request, rows);
    }
    rows[index] ??= { row: this.#freeRows.pop()!, numTokens: 0, numBlocks: 0 };
    return rows[index]!;
  }

  /** Gives the rows of a request back. */
  release(request: Request): void {
    for (const { row } of this.#rows.get(request) ?? []) this.#freeRows.push(row);
    this.#rows.delete(request);
  }

  /** Gives all rows back: others need them. */
  releaseAll(): void {
    for (const request of this.#rows.keys()) this.release(request);
  }
}

/**
 * Where the longest n-gram, of `min` to `max` tokens, that ends the sequence ended before; -1 where none did. Of equally long ones
 * the latest counts that has `wanted` tokens behind it, else the earliest.
 */
function lookUp(tokens: Uint32Array, length: number, min: number, max: number, wanted: number): number {
  let best = -1;
  let bestLength = min;
  for (let end = length - 1; end >= bestLength; end--) {
    const isLongEnough = best >= 0 && length - best >= wanted;
    if (isLongEnough && bestLength === max) break;
    let n = 0;
    while (n < max && n < end && tokens[end - 1 - n] === tokens[length - 1 - n]) n++;
    if (n < bestLength || (n === bestLength && isLongEnough)) continue;
    best = end;
    bestLength = n;
  }
  return best;
}
