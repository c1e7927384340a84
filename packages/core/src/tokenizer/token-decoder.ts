import { utf8Bytes } from './byte-alphabet.ts';
import { ByteDetokenizer } from './byte-detokenizer.ts';
import { SequenceDetokenizer } from './sequence-detokenizer.ts';
import type { TokenizerSpec } from './tokenizer-spec.ts';
import type { Detokenizer } from './types.ts';
import { incompleteTail, Utf8Stream } from './utf8-stream.ts';
import type { Vocabulary } from './vocabulary.ts';

const noBytes = new Uint8Array(0);

/** Ids to text. Ids without a token (padding of the embedding table) have no text. */
export class TokenDecoder {
  readonly #spec: TokenizerSpec;
  readonly #vocabulary: Vocabulary;
  readonly #literalIds: ReadonlySet<number>;
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #texts: (string | null | undefined)[] = [];

  constructor(spec: TokenizerSpec, vocabulary: Vocabulary) {
    this.#spec = spec;
    this.#vocabulary = vocabulary;
    this.#literalIds = new Set(spec.addedTokens.map(token => token.id));
  }

  /** Bytes of one token; shared, not to be changed. */
  tokenBytes(id: number): Uint8Array {
    const known = this.#bytes[id];
    if (known !== undefined) return known;
    const token = this.#vocabulary.token(id);
    if (token === undefined) return noBytes;
    const bytes = this.#bytesOf(id, token);
    this.#bytes[id] = bytes;
    return bytes;
  }

  /** Text of a token that begins between two characters; null where its bytes end within one. Made once for all streams. */
  wholeText(id: number): string | null {
    const known = this.#texts[id];
    if (known !== undefined) return known;
    const bytes = this.tokenBytes(id);
    const text = incompleteTail(bytes) > 0 ? null : new Utf8Stream().push(bytes);
    if (this.#vocabulary.token(id) !== undefined) this.#texts[id] = text;
    return text;
  }

  decode(ids: readonly number[], skipSpecialTokens: boolean): string {
    const { decoder } = this.#spec;
    if (decoder.type === 'sequence') return decoder.decode(this.#tokens(ids, skipSpecialTokens));
    const detokenizer = this.createDetokenizer(skipSpecialTokens, []);
    let text = '';
    for (const id of ids) text += detokenizer.push(id);
    return text + detokenizer.flush();
  }

  createDetokenizer(skipSpecialTokens: boolean, promptTokenIds: readonly number[]): Detokenizer {
    const { decoder } = this.#spec;
    const isSkipped = skipSpecialTokens ? (id: number) => this.#vocabulary.specialIds.has(id) : () => false;
    if (decoder.type === 'bytes') {
      return new ByteDetokenizer(this, isSkipped, decoder.leadingSpaces, promptTokenIds);
    }
    const decode = (ids: readonly number[]): string => decoder.decode(this.#tokens(ids, skipSpecialTokens));
    return new SequenceDetokenizer(decode, promptTokenIds);
  }

  #bytesOf(id: number, token: string): Uint8Array {
    const { decoder } = this.#spec;
    if (decoder.type === 'bytes' && !this.#literalIds.has(id)) return decoder.tokenBytes(token);
    return utf8Bytes(token);
  }

  #tokens(ids: readonly number[], skipSpecialTokens: boolean): string[] {
    const tokens: string[] = [];
    for (const id of ids) {
      const token = skipSpecialTokens && this.#vocabulary.specialIds.has(id) ? undefined : this.#vocabulary.token(id);
      if (token !== undefined) tokens.push(token);
    }
    return tokens;
  }
}
