import { BlockTable } from './block-table.ts';
import type { Request } from './request.ts';

/**
 * What the draft model has of a request: a row, blocks, and how much of either is right. A position in the cache is right while
 * the row held the request's own tokens up to there when it was computed.
 */
export class DraftSequence {
  readonly request: Request;
  readonly row: number;
  readonly table: BlockTable;
  /** Tokens of the request that the row has; what it has behind them are guesses. */
  numKnown = 0;
  /** Positions from the front whose keys and values are those of the request's tokens. */
  numComputed = 0;
  /** Entries of the block table that the row has. */
  numGranted = 0;
  /** The row does not end with the last token of the request. */
  isStale = true;
  /** Its blocks hold what is not finite. */
  isTainted = false;
  #sampled: Uint32Array = new Uint32Array(0);
  #numFinite = 0;

  constructor(request: Request, row: number) {
    this.request = request;
    this.row = row;
    this.table = new BlockTable(request.table.salt);
  }

  /** Tokens to compute before the row can sample. */
  get numMissing(): number {
    return this.request.numTokens - 1 - this.numComputed;
  }

  /** Whether what was guessed last follows the request's tokens as they are now. */
  get hasGuesses(): boolean {
    return this.#sampled.length > 0 && this.numKnown === this.request.numTokens;
  }

  get guesses(): Uint32Array {
    return this.#sampled.subarray(0, this.#numFinite);
  }

  /** Keeps of the guesses what the request went on with, and of what was computed what is still right. */
  follow(): void {
    const { tokens, numTokens } = this.request;
    const end = Math.min(this.numKnown + this.#sampled.length, numTokens);
    const first = this.numKnown;
    while (this.numKnown < end && tokens[this.numKnown] === this.#sampled[this.numKnown - first]) this.numKnown++;
    // The last token is computed again where it is there already: what follows it is to be sampled.
    if (first > 0) this.numComputed = Math.min(this.numComputed, this.numKnown, numTokens - 1);
    this.#sampled = this.#sampled.subarray(0, 0);
    this.isStale = true;
  }

  /** Takes what the row sampled in a row, of which the first `numFinite` are of use. */
  take(sampled: Uint32Array, numFinite: number): void {
    this.#sampled = sampled;
    this.#numFinite = numFinite;
    this.numComputed += sampled.length;
    if (numFinite < sampled.length) this.isTainted = true;
  }
}
