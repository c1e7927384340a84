import { fromByteAlphabet, utf8Bytes } from './byte-alphabet.ts';
import { readPattern } from './check-regex.ts';
import { flattenSequence, unsupported } from './component.ts';
import { type JsonFields, toPlain } from './json-fields.ts';
import type { DecoderConfig } from './tokenizer-spec.ts';
import { SequenceDecoder } from './tokenizers-library.ts';

const known = 'ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip, WordPiece, BPEDecoder, CTC, Sequence';
const byteToken = /^<0x([0-9A-Fa-f]{2})>$/;

/** Reads `decoder` of tokenizer.json. Without one, tokens are joined by spaces, as in the Rust library. */
export function readDecoder(root: JsonFields): DecoderConfig {
  const components = flattenSequence(root, 'decoder', 'decoders');
  if (components.length === 0) return { type: 'sequence', decode: tokens => tokens.join(' ') };
  for (const fields of components) checkType(fields);
  return asByteDecoder(components) ?? sequenceDecoder(components);
}

function checkType(fields: JsonFields): void {
  if (!known.split(', ').includes(fields.string('type')))
    throw unsupported('TOKENIZER_UNSUPPORTED_DECODER', fields, known);
  if (fields.string('type') === 'Replace') readPattern(fields);
}

/** The decoder in byte form, or null when the text of a token depends on its neighbours. */
function asByteDecoder(components: readonly JsonFields[]): DecoderConfig | null {
  const types = components.map(fields => fields.string('type')).join(' ');
  const first = components[0]!;
  if (types === 'ByteLevel') return { type: 'bytes', tokenBytes: fromByteAlphabet, leadingSpaces: 0 };
  if (types === 'Metaspace') return metaspaceDecoder(first);
  // Llama, Mistral, Gemma: the order in which converters write these.
  if (!/^(Replace )*(ByteFallback )?Fuse( Strip)?$/.test(types)) return null;
  const leadingSpaces = types.endsWith('Strip') ? leadingStrip(components.at(-1)!) : 0;
  if (leadingSpaces === null) return null;
  const replaces = components.filter(fields => fields.string('type') === 'Replace').map(readReplace);
  const hasFallback = types.includes('ByteFallback');
  const tokenBytes = (token: string): Uint8Array => {
    const text = replaces.reduce((changed, replace) => replace(changed), token);
    const byte = hasFallback ? byteToken.exec(text) : null;
    return byte === null ? utf8Bytes(text) : Uint8Array.of(Number.parseInt(byte[1]!, 16));
  };
  return { type: 'bytes', tokenBytes, leadingSpaces };
}

function metaspaceDecoder(fields: JsonFields): DecoderConfig {
  const replacement = fields.stringOr('replacement', '\u2581');
  const prepends =
    fields.stringOr('prepend_scheme', fields.booleanOr('add_prefix_space', true) ? 'always' : 'never') !== 'never';
  return {
    type: 'bytes',
    tokenBytes: token => utf8Bytes(token.replaceAll(replacement, ' ')),
    leadingSpaces: prepends ? 1 : 0,
  };
}

function readReplace(fields: JsonFields): (token: string) => string {
  const pattern = readPattern(fields);
  const content = fields.string('content');
  return token => token.replace(pattern, () => content);
}

/** Spaces that a Strip takes from the front, or null when it does more than that. */
function leadingStrip(fields: JsonFields): number | null {
  const start = fields.raw('start') ?? 0;
  const stop = fields.raw('stop') ?? 0;
  return fields.stringOr('content', ' ') === ' ' && typeof start === 'number' && stop === 0 ? start : null;
}

function sequenceDecoder(components: readonly JsonFields[]): DecoderConfig {
  const decoders = components.map(fields => toPlain(new Map(fields.entries())));
  const decoder = new SequenceDecoder({ type: 'Sequence', decoders });
  return { type: 'sequence', decode: tokens => decoder.decode(tokens) };
}
