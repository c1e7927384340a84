import { byteFallbackToken } from './bpe.ts';
import { utf8Bytes } from './byte-alphabet.ts';
import { PieceTrie } from './piece-trie.ts';
import { WordCache } from './word-cache.ts';

/** A Unigram language model as its file describes it, checked. */
export interface UnigramModel {
  readonly type: 'Unigram';
  readonly vocab: ReadonlyMap<string, number>;
  readonly tokens: readonly (string | undefined)[];
  /** Logarithm of the probability of each piece, by id. */
  readonly scores: Float64Array;
  readonly unkId: number | null;
  /** Characters that no piece covers become `<0x..>` tokens, one per UTF-8 byte. */
  readonly byteFallback: boolean;
}

/** How much worse than the worst piece an unknown character is (SentencePiece's kUnkPenalty). */
const UNKNOWN_PENALTY = 10;
/** Words up to this long share scratch arrays; longer ones bring their own. In UTF-16 code units. */
const SCRATCH = 4096;

/**
 * Turns pre-tokenised words into ids: of all ways to spell a word in pieces, the most probable one, by Viterbi's algorithm (Kudo
 * 2018; ties and unknown characters as in Hugging Face's tokenizers). Linear in the length of the word.
 */
export class UnigramEncoder {
  readonly #model: UnigramModel;
  readonly #trie: PieceTrie;
  readonly #unknownScore: number;
  readonly #fallbackIds: readonly (number | undefined)[];
  readonly #cache = new WordCache();
  readonly #scratch = makePaths(SCRATCH);

  /** `barredIds`: ids that no text may become (the special tokens). */
  constructor(model: UnigramModel, barredIds: ReadonlySet<number>) {
    this.#model = model;
    const bytes = Array.from({ length: 256 }, (_, byte) => model.vocab.get(byteFallbackToken(byte)));
    this.#fallbackIds = bytes;
    this.#trie = new PieceTrie([...model.vocab].filter(([piece, id]) => piece !== '' && !barredIds.has(id)));
    this.#unknownScore = model.scores.reduce((least, score) => Math.min(least, score), 0) - UNKNOWN_PENALTY;
  }

  /** Ids of one word. The result is shared with the cache: not to be changed. */
  encode(word: string): readonly number[] {
    const cached = this.#cache.get(word);
    if (cached !== undefined) return cached;
    const paths = word.length <= SCRATCH ? this.#scratch : makePaths(word.length);
    this.#search(word, paths);
    const ids = this.#collect(word, paths);
    this.#cache.set(word, ids);
    return ids;
  }

  /** Fills in, for every end of a piece, the best last piece: where it begins and which it is. */
  #search(word: string, { scores, starts, ids }: Paths): void {
    starts.fill(-1, 0, word.length + 1);
    scores[0] = 0;
    for (let at = 0; at < word.length; ) {
      const length = word.codePointAt(at)! > 0xffff ? 2 : 1;
      const before = scores[at]!;
      let covered = false;
      const offer = (end: number, id: number, score: number) => {
        if (starts[end]! >= 0 && before + score <= scores[end]!) return;
        [scores[end], starts[end], ids[end]] = [before + score, at, id];
      };
      for (let node = this.#trie.root, end = at; end < word.length; ) {
        node = this.#trie.step(node, word.charCodeAt(end++));
        if (node < 0) break;
        const id = this.#trie.idOf(node);
        if (id < 0) continue;
        offer(end, id, this.#model.scores[id]!);
        covered ||= end === at + length;
      }
      if (!covered) offer(at + length, UNKNOWN, this.#unknownScore);
      at += length;
    }
  }

  /** Back from the end. Unknown characters in a row are one unknown token, or the bytes of all of them. */
  #collect(word: string, { starts, ids }: Paths): number[] {
    const found: number[] = [];
    for (let end = word.length; end > 0; ) {
      let start = starts[end]!;
      if (ids[end] !== UNKNOWN) found.push(ids[end]!);
      else {
        while (start > 0 && ids[start] === UNKNOWN) start = starts[start]!;
        for (const id of this.#unknown(word.slice(start, end)).reverse()) found.push(id);
      }
      end = start;
    }
    return found.reverse();
  }

  #unknown(text: string): number[] {
    const { unkId, byteFallback } = this.#model;
    const bytes = byteFallback ? Array.from(utf8Bytes(text), byte => this.#fallbackIds[byte]) : [undefined];
    const ids = bytes.filter(id => id !== undefined);
    if (ids.length === bytes.length) return ids;
    return unkId === null ? [] : [unkId];
  }
}

const UNKNOWN = -1;

interface Paths {
  readonly scores: Float64Array;
  readonly starts: Int32Array;
  readonly ids: Int32Array;
}

function makePaths(length: number): Paths {
  return {
    scores: new Float64Array(length + 1),
    starts: new Int32Array(length + 1),
    ids: new Int32Array(length + 1),
  };
}
