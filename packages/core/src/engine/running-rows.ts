/** Words of a row's record. */
export const RECORD_WORDS = 16;
/** Tokens that a row gained last, kept here until its request takes them over. */
export const RECENT_TOKENS = 16;

/** Places in the record of a row. Tokens, unless a name says otherwise; i32. */
export const Field = {
  /** Known to the host. */
  numTokens: 0,
  /** Computed by what was submitted. */
  numComputed: 1,
  /** To be sampled by submitted steps. */
  numPlaceholders: 2,
  /** The sequence never grows beyond it. */
  tokenLimit: 3,
  /** Length from which on an end-of-sequence token ends it. */
  stopsFrom: 4,
  /** While it has computed less it decodes as it did: its blocks have room, and its limit is not reached. 0: it may do otherwise. */
  decodesUntil: 5,
  /** Tokens known and computed that fill a block of which the prefix cache has not been told, at the earliest. */
  cachesAt: 6,
  /** The step that computed tokens of it last, and how many. */
  lastStep: 7,
  lastQueryLen: 8,
  /** 1: each further step computes its last token and samples the next, and the host does nothing in between. */
  decodes: 9,
} as const;

/** No step, no limit, never. */
export const NEVER = 0x7fffffff;

/** Told that a request changed. */
export interface Listener {
  notify(): void;
}

/**
 * What each step reads and writes of the requests that run, by row, in a few arrays: a step of decodes walks through these and
 * leaves the requests alone, whose objects are spread over more memory than a cache holds.
 */
export class RunningRows {
  /** i32 [maxRows, RECORD_WORDS]: see `Field`. */
  readonly words: Int32Array;
  /** u32 [maxRows, RECENT_TOKENS]: the token at position p is at p % RECENT_TOKENS. */
  readonly recent: Uint32Array;
  /** When each row gained tokens last: NaN before the first. Milliseconds on the engine's clock. */
  readonly lastToken: Float64Array;
  /** i32 [maxRows]: who holds a row, of all that ever did; 0: nobody. */
  readonly holders: Int32Array;
  /** Whom to tell of the tokens of a row that decodes; null: there is more to do with them. */
  readonly listeners: (Listener | null)[];
  #lastHolder = 0;

  constructor(maxRows: number) {
    this.words = new Int32Array(maxRows * RECORD_WORDS);
    this.recent = new Uint32Array(maxRows * RECENT_TOKENS);
    this.lastToken = new Float64Array(maxRows);
    this.holders = new Int32Array(maxRows);
    this.listeners = new Array<Listener | null>(maxRows).fill(null);
  }

  /** The blocks of a row have grown. Matters only where it decodes. */
  setCapacity(row: number, capacity: number): void {
    const at = row * RECORD_WORDS;
    if (this.words[at + Field.decodesUntil] === 0) return;
    this.words[at + Field.decodesUntil] = Math.min(capacity, this.words[at + Field.tokenLimit]! - 1);
  }

  take(row: number): void {
    this.#lastHolder = (this.#lastHolder + 1) & NEVER || 1;
    this.holders[row] = this.#lastHolder;
  }

  release(row: number): void {
    this.holders[row] = 0;
    this.words.fill(0, row * RECORD_WORDS, (row + 1) * RECORD_WORDS);
    this.listeners[row] = null;
  }
}
