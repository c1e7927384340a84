import type { Tokenizer } from '@quire/core';
import type { ErrorData } from '../engine-process/errors.ts';

/** What the server's loop and a thread that tokenises tell each other. Answers come in the order of the questions. */
export type TokenizerQuestion =
  | { readonly kind: 'encode'; readonly args: Parameters<Tokenizer['encode']> }
  | { readonly kind: 'encodeChat'; readonly args: Parameters<Tokenizer['encodeChat']> };

export type TokenizerAnswer = { readonly ids: Uint32Array<ArrayBuffer> } | { readonly error: ErrorData };
