import { ModelFormatError } from '../errors.ts';
import { JsonFloat, type JsonValue, showJson } from '../weights/json-tree.ts';
import { checkByteTokens } from './check-byte-tokens.ts';
import type { JsonFields } from './json-fields.ts';
import type { UnigramModel } from './unigram.ts';

/** Reads a `model` of type Unigram: `vocab` is a list of [piece, score], and ids are its places. */
export function readUnigram(fields: JsonFields): UnigramModel {
  const entries = fields.array('vocab');
  const tokens: string[] = [];
  const scores = new Float64Array(entries.length);
  const vocab = new Map<string, number>();
  entries.forEach((entry, id) => {
    const [piece, score] = Array.isArray(entry) && entry.length === 2 ? [entry[0], numberOf(entry[1])] : [];
    if (typeof piece !== 'string' || score === undefined) throw badEntry(fields, id, showEntry(entry));
    if (vocab.has(piece)) throw badEntry(fields, id, `${showJson(piece)} again`);
    vocab.set(piece, id);
    tokens.push(piece);
    scores[id] = score;
  });
  if (tokens.length === 0) throw badEntry(fields, 0, 'an empty vocabulary');
  const byteFallback = fields.booleanOr('byte_fallback', false);
  if (byteFallback) checkByteTokens(fields, vocab);
  return { type: 'Unigram', vocab, tokens, scores, unkId: readUnknown(fields, tokens.length), byteFallback };
}

function readUnknown(fields: JsonFields, size: number): number | null {
  if (!fields.has('unk_id')) return null;
  const id = fields.raw('unk_id');
  if (typeof id === 'number' && id >= 0 && id < size) return id;
  throw new ModelFormatError('TOKENIZER_SPECIAL_TOKEN', 'the unknown token is not in the vocabulary', {
    file: fields.file,
    field: fields.pathOf('unk_id'),
    found: showJson(id),
    expected: `an id from 0 to ${size - 1}`,
  });
}

function numberOf(value: JsonValue | undefined): number | undefined {
  const number = value instanceof JsonFloat ? value.value : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

function showEntry(entry: JsonValue | undefined): string {
  return Array.isArray(entry) ? `[${entry.slice(0, 3).map(showJson).join(', ')}]` : showJson(entry);
}

function badEntry(fields: JsonFields, id: number, found: string): ModelFormatError {
  return new ModelFormatError('TOKENIZER_BAD_FIELD', 'this is not an entry of a Unigram vocabulary', {
    file: fields.file,
    field: `${fields.pathOf('vocab')}[${id}]`,
    found,
    expected: '[piece, score], each piece once',
  });
}
