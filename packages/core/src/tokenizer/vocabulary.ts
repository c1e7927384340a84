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
  readonly #model: TokenizerSpec['model'];
  readonly #addedIds: ReadonlyMap<string, number>;
  readonly #addedTokens: ReadonlyMap<number, string>;

  constructor(spec: TokenizerSpec) {
    const { model, addedTokens } = spec;
    this.#model = model;
    this.#addedIds = new Map(addedTokens.map(token => [token.content, token.id]));
    this.#addedTokens = new Map(addedTokens.map(token => [token.id, token.content]));
    this.size = addedTokens.reduce((size, token) => Math.max(size, token.id + 1), model.tokens.length);
    this.specialIds = new Set(addedTokens.filter(token => token.special).map(token => token.id));
    this.maxTokenBytes = Math.max(longestToken(model.tokens), longestToken([...this.#addedIds.keys()]));
  }

  token(id: number): string | undefined {
    return this.#addedTokens.get(id) ?? this.#model.tokens[id];
  }

  id(token: string): number | undefined {
    return this.#addedIds.get(token) ?? this.#model.vocab.get(token);
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
