import { BpeMerger } from './bpe-merge.ts';
import { byteToChar, toByteAlphabet, utf8Bytes } from './byte-alphabet.ts';
import { MergeTable } from './merge-table.ts';
import { WordCache } from './word-cache.ts';

/** A BPE as its file describes it, checked: every piece of a merge, and their concatenation, is in the vocabulary. */
export interface BpeModel {
  readonly type: 'BPE';
  readonly vocab: ReadonlyMap<string, number>;
  /** By id, with holes where ids have none. */
  readonly tokens: readonly (string | undefined)[];
  /** Three ids per merge, by rank: left, right, and what they make. */
  readonly merges: Int32Array;
  readonly unkToken: string | null;
  /** Unknown characters in a row become one unknown token. */
  readonly fuseUnk: boolean;
  /** Characters that the vocabulary lacks become `<0x..>` tokens, one per UTF-8 byte. */
  readonly byteFallback: boolean;
  /** A word that is a token as a whole is not split. */
  readonly ignoreMerges: boolean;
  readonly continuingSubwordPrefix: string;
  readonly endOfWordSuffix: string;
}

const UNKNOWN = -1;
const MAX_FALLBACKS = 65_536;

/** Turns pre-tokenised words into ids. */
export class BpeEncoder {
  readonly #model: BpeModel;
  readonly #byteLevel: boolean;
  readonly #barredIds: ReadonlySet<number>;
  readonly #byteIds: Int32Array;
  readonly #fallbackIds: Int32Array;
  /** Ids of the bytes of characters that the vocabulary lacks, as far as they have come up. */
  readonly #fallbacks = new Map<string, readonly number[] | null>();
  readonly #unkId: number;
  readonly #merger: BpeMerger;
  readonly #cache = new WordCache();
  #scratch = new Int32Array(256);

  /**
   * `byteLevel`: words are plain text, and the vocabulary spells their UTF-8 bytes in GPT-2's alphabet.
   * `barredIds`: ids that no word may become, even where merges would spell them (the special tokens).
   */
  constructor(model: BpeModel, byteLevel: boolean, barredIds: ReadonlySet<number>) {
    this.#model = model;
    this.#byteLevel = byteLevel;
    this.#barredIds = barredIds;
    this.#unkId = model.unkToken === null ? UNKNOWN : (model.vocab.get(model.unkToken) ?? UNKNOWN);
    this.#byteIds = Int32Array.from(byteToChar, char => this.#idOf(char));
    this.#fallbackIds = Int32Array.from(
      { length: 256 },
      (_, byte) => model.vocab.get(byteFallbackToken(byte)) ?? UNKNOWN,
    );
    this.#merger = new BpeMerger(makeMergeTable(model, barredIds));
  }

  /** Ids of one word. The result is shared with the cache: not to be changed. */
  encode(word: string): readonly number[] {
    const cached = this.#cache.get(word);
    if (cached !== undefined) return cached;
    const ids = this.#encodeUncached(word);
    this.#cache.set(word, ids);
    return ids;
  }

  #encodeUncached(word: string): readonly number[] {
    if (this.#model.ignoreMerges) {
      const id = this.#idOf(this.#byteLevel ? toByteAlphabet(word) : word);
      if (id >= 0) return [id];
    }
    const ids = this.#byteLevel ? this.#byteSymbols(word) : this.#characterSymbols(word);
    const merged = this.#merger.merge(ids.symbols, ids.count);
    return this.#withUnknowns(ids.symbols, merged);
  }

  #byteSymbols(word: string): { symbols: Int32Array; count: number } {
    const bytes = utf8Bytes(word);
    const symbols = this.#reserve(bytes.length);
    for (let i = 0; i < bytes.length; i++) symbols[i] = this.#byteIds[bytes[i]!]!;
    return { symbols, count: bytes.length };
  }

  #characterSymbols(word: string): { symbols: Int32Array; count: number } {
    const { continuingSubwordPrefix, endOfWordSuffix, byteFallback } = this.#model;
    // A character has at most 4 bytes, in at most 2 code units: 3 per unit.
    const symbols = this.#reserve(3 * word.length);
    let count = 0;
    let at = 0;
    for (const character of word) {
      const prefix = at > 0 ? continuingSubwordPrefix : '';
      at += character.length;
      const suffix = at === word.length ? endOfWordSuffix : '';
      const id = this.#idOf(prefix === '' && suffix === '' ? character : prefix + character + suffix);
      const bytes = id < 0 && byteFallback ? this.#fallback(character) : null;
      if (bytes === null) symbols[count++] = id;
      else for (const byteId of bytes) symbols[count++] = byteId;
    }
    return { symbols, count };
  }

  #fallback(character: string): readonly number[] | null {
    const known = this.#fallbacks.get(character);
    if (known !== undefined) return known;
    const ids = Array.from(utf8Bytes(character), byte => this.#fallbackIds[byte]!);
    const found = ids.includes(UNKNOWN) ? null : ids;
    if (this.#fallbacks.size < MAX_FALLBACKS) this.#fallbacks.set(character, found);
    return found;
  }

  /** Unknown symbols become the unknown token, or vanish where the model has none. */
  #withUnknowns(symbols: Int32Array, count: number): number[] {
    const ids: number[] = [];
    for (let i = 0; i < count; i++) {
      const id = symbols[i]!;
      if (id >= 0) ids.push(id);
      else if (this.#unkId >= 0 && !(this.#model.fuseUnk && i > 0 && symbols[i - 1] === UNKNOWN)) ids.push(this.#unkId);
    }
    return ids;
  }

  #idOf(piece: string): number {
    const id = this.#model.vocab.get(piece);
    return id === undefined || this.#barredIds.has(id) ? UNKNOWN : id;
  }

  #reserve(length: number): Int32Array {
    if (length > 4096) return new Int32Array(length);
    if (length > this.#scratch.length) this.#scratch = new Int32Array(2 * length);
    return this.#scratch;
  }
}

/** How a byte-fallback vocabulary spells a byte, such as `<0x0A>`. */
export function byteFallbackToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
}

function makeMergeTable({ merges }: BpeModel, barredIds: ReadonlySet<number>): MergeTable {
  const table = new MergeTable(merges.length / 3);
  for (let i = 0; i < merges.length; i += 3) {
    const merged = merges[i + 2]!;
    if (!barredIds.has(merged)) table.set(merges[i]!, merges[i + 1]!, i / 3, merged);
  }
  return table;
}
