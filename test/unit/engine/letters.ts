import type { Detokenizer, Tokenizer } from '@quire/core';
import { EOS } from './helpers.ts';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz .,!?';

/** One character per token; the last token is special. */
export const letters = {
  vocabSize: 32,
  eosTokenId: EOS,
  encode: (text: string) => [...text].map(character => ALPHABET.indexOf(character)),
  createDetokenizer: (): Detokenizer => ({
    push: id => (id === EOS ? '</s>' : ALPHABET[id]!),
    flush: () => '',
  }),
} as unknown as Tokenizer;
