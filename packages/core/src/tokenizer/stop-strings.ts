/** What a step brought. */
export interface StopMatch {
  /** Text that is final. */
  readonly emit: string;
  /** Set once a stop string was found; nothing is emitted after that. */
  readonly stopped: { readonly stop: string } | null;
}

/**
 * Finds stop strings in text that comes in pieces, wherever the pieces are cut. Of several, the one that ends first wins, and of
 * those that end together the one listed first. Text that may still be the beginning of a stop string is held back: at most one
 * UTF-16 code unit less than the longest, or one more so that no surrogate pair is cut.
 */
export class StopStringMatcher {
  readonly #stops: readonly string[];
  readonly #failures: readonly Int32Array[];
  /** Per stop string, how much of it the text so far ends with. */
  readonly #matched: Int32Array;
  readonly #includeStop: boolean;
  #held = '';
  #stopped: { readonly stop: string } | null = null;

  /** `stops`: no empty strings. `includeStop`: what is emitted ends with the stop string, instead of before it. */
  constructor(stops: readonly string[], options: { includeStop?: boolean } = {}) {
    this.#stops = stops;
    this.#failures = stops.map(failureFunction);
    this.#matched = new Int32Array(stops.length);
    this.#includeStop = options.includeStop ?? false;
  }

  push(text: string): StopMatch {
    if (this.#stopped !== null) return { emit: '', stopped: this.#stopped };
    const all = this.#held + text;
    for (let i = this.#held.length; i < all.length; i++) {
      const found = this.#advance(all.charCodeAt(i));
      if (found >= 0) return this.#stop(all, i + 1, this.#stops[found]!);
    }
    const keep = this.#heldBack(all);
    this.#held = all.slice(keep);
    return { emit: all.slice(0, keep), stopped: null };
  }

  /** Releases what was held back, at the end of the text. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    this.#matched.fill(0);
    return rest;
  }

  #stop(all: string, end: number, stop: string): StopMatch {
    this.#held = '';
    this.#stopped = { stop };
    return { emit: all.slice(0, this.#includeStop ? end : end - stop.length), stopped: this.#stopped };
  }

  /** Knuth-Morris-Pratt, one state per stop string. Returns the first stop string that ends here, or -1. */
  #advance(unit: number): number {
    let found = -1;
    for (let s = this.#stops.length - 1; s >= 0; s--) {
      const stop = this.#stops[s]!;
      const failure = this.#failures[s]!;
      let matched = this.#matched[s]!;
      while (matched > 0 && stop.charCodeAt(matched) !== unit) matched = failure[matched - 1]!;
      if (stop.charCodeAt(matched) === unit) matched++;
      this.#matched[s] = matched;
      if (matched === stop.length) found = s;
    }
    return found;
  }

  /** The index from which on text is held back. */
  #heldBack(all: string): number {
    let held = 0;
    for (const matched of this.#matched) held = Math.max(held, matched);
    const keep = all.length - held;
    const cutsPair = keep > 0 && keep < all.length && isHighSurrogate(all.charCodeAt(keep - 1));
    return cutsPair ? keep - 1 : keep;
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

/** Per position, the longest proper prefix of the string that ends there. */
function failureFunction(text: string): Int32Array {
  const failure = new Int32Array(text.length);
  for (let i = 1, matched = 0; i < text.length; i++) {
    while (matched > 0 && text[i] !== text[matched]) matched = failure[matched - 1]!;
    if (text[i] === text[matched]) matched++;
    failure[i] = matched;
  }
  return failure;
}
