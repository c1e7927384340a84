import { ModelFormatError } from '../errors.ts';
import { byteFallbackToken } from './bpe.ts';
import type { JsonFields } from './json-fields.ts';

/** Throws unless a vocabulary with byte fallback has a token for every byte. */
export function checkByteTokens(fields: JsonFields, vocab: ReadonlyMap<string, number>): void {
  const missing = Array.from({ length: 256 }, (_, byte) => byteFallbackToken(byte)).find(token => !vocab.has(token));
  if (missing === undefined) return;
  throw new ModelFormatError('TOKENIZER_BYTE_ALPHABET', 'byte fallback needs a token for every byte', {
    file: fields.file,
    field: fields.pathOf('byte_fallback'),
    found: `no token ${missing}`,
    expected: '<0x00> to <0xFF>',
  });
}
