import type { Request } from './request.ts';

/** A row that checks one draft, and what the device knows of it. */
export interface DraftRow {
  readonly row: number;
  /** Tokens of the sequence that the row has right; 0: nothing is known of it. */
  numTokens: number;
  /** Entries of the block table that it has. */
  numBlocks: number;
}

/**
 * Rows that check drafts, borrowed from those that no request holds.
 *
 * Each draft is checked by a row of its own on the blocks of its request: row j holds the sequence and its first j drafts, and
 * samples the token that follows, with the noise of that position, in the very operations of plain decoding. All keys and values
 * of a step are written before any is read, so the rows see each other's drafts. A draft counts when it equals what the row
 * before it sampled: so outputs are those of plain decoding, bit for bit where logits do not depend on the batch.
 */
export class DraftRows {
  readonly #freeRows: number[];
  readonly #rows = new Map<Request, DraftRow[]>();

  /** Rows are borrowed from `freeRows`. */
  constructor(freeRows: number[]) {
    this.#freeRows = freeRows;
  }

  /** Rows that a request has already. */
  held(request: Request): number {
    return this.#rows.get(request)?.length ?? 0;
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
