import type { AddedToken } from './added-tokens.ts';
import type { BpeModel } from './bpe.ts';
import type { PreTokenizerConfig } from './pre-tokenizer.ts';
import type { UnigramModel } from './unigram.ts';

/** A tokenizer as its files describe it, checked: what is left is to build it. */
export interface TokenizerSpec {
  readonly model: BpeModel | UnigramModel;
  readonly addedTokens: readonly AddedToken[];
  readonly normalizer: ((text: string) => string) | null;
  readonly preTokenizers: readonly PreTokenizerConfig[];
  readonly decoder: DecoderConfig;
  /** Ids that go around a prompt. */
  readonly affixes: Affixes;
}

export interface Affixes {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

/** How tokens become text again. */
export type DecoderConfig =
  /** Every token has bytes, whatever its neighbours: text is their concatenation, less some leading spaces. */
  | { readonly type: 'bytes'; readonly tokenBytes: (token: string) => Uint8Array; readonly leadingSpaces: number }
  /** Only the whole sequence has a text. */
  | { readonly type: 'sequence'; readonly decode: (tokens: readonly string[]) => string };

/** Tokens with a role, from tokenizer_config.json and special_tokens_map.json. */
export interface SpecialTokens {
  /** By role: `bos_token`, `eos_token`, `unk_token`, `sep_token`, `pad_token`, `cls_token`, `mask_token`. */
  readonly byRole: ReadonlyMap<string, string>;
  readonly additional: readonly string[];
}
