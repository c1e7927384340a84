import { type AddedToken, AddedTokenMatcher } from './added-tokens.ts';
import { utf8Bytes } from './byte-alphabet.ts';
import type { TokenizerSpec } from './tokenizer-spec.ts';

/** Tokens by id and ids by token, added tokens included. */
export class Vocabulary {
  /** One more than the greatest id. */
  readonly size: number;
  readonly specialIds: ReadonlySet<number>;
  /** Bytes of the longest token. */
  readonly maxTokenBytes: number;
  readonly #tokens: (string | undefined)[];
  readonly #idOf: Map<string, number>;

  constructor(spec: TokenizerSpec) {
    this.#idOf = new Map(spec.model.vocab);
    for (const token of spec.addedTokens) this.#idOf.set(token.content, token.id);
    let size = 0;
    for (const id of this.#idOf.values()) size = Math.max(size, id + 1);
    this.size = size;
    this.#tokens = new Array(size);
    for (const [token, id] of this.#idOf) this.#tokens[id] = token;
    this.specialIds = new Set(spec.addedTokens.filter(token => token.special).map(token => token.id));
    this.maxTokenBytes = longestToken(this.#tokens);
  }

  token(id: number): string | undefined {
    return this.#tokens[id];
  }

  id(token: string): number | undefined {
    return this.#idOf.get(token);
  }
}

/** In the spelling of the file, which is never shorter than the text it stands for. */
function longestToken(tokens: readonly (string | undefined)[]): number {
  let longest = 1;
  for (const token of tokens) {
    // Three bytes per code unit is the most; few tokens need the exact count.
    if (token !== undefined && token.length * 3 > longest) longest = Math.max(longest, utf8Bytes(token).length);
  }
  return longest;
}

/** Finds the added tokens of a tokenizer, first in the text as it is and then in what the normaliser made of it. */
export interface AddedTokenMatchers {
  readonly raw: AddedTokenMatcher;
  readonly normalized: AddedTokenMatcher;
}

/**
 * Special tokens are found in the raw text even where the file says `normalized`, so that it stays known whose text they are in.
 */
export function createMatchers(spec: TokenizerSpec): AddedTokenMatchers {
  const { normalizer } = spec;
  const inNormalized = (token: AddedToken): boolean => normalizer !== null && token.normalized && !token.special;
  return {
    raw: new AddedTokenMatcher(spec.addedTokens.filter(token => !inNormalized(token))),
    normalized: new AddedTokenMatcher(spec.addedTokens.filter(inNormalized), token => normalizer!(token.content)),
  };
}
