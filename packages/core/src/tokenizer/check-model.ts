import { ModelFormatError } from '../errors.ts';
import { type JsonValue, showJson } from '../weights/json-tree.ts';
import type { BpeModel } from './bpe.ts';
import { byteToChar } from './byte-alphabet.ts';
import { checkByteTokens } from './check-byte-tokens.ts';
import { readUnigram } from './check-unigram.ts';
import type { JsonFields } from './json-fields.ts';
import type { TokenizerSpec } from './tokenizer-spec.ts';

/** Ids lie below this. The largest published vocabulary has about 260,000 tokens. */
const MAX_IDS = 4_194_304;

type Merge = readonly [left: string, right: string];

/** Reads `model` of tokenizer.json. */
export function readModel(root: JsonFields): TokenizerSpec['model'] {
  const fields = root.object('model');
  const type = fields.stringOr('type', guessType(fields));
  if (type === 'BPE') return readBpe(fields);
  if (type === 'Unigram') return readUnigram(fields);
  const details = { file: root.file, field: 'model.type', found: showJson(type), expected: 'BPE or Unigram' };
  throw new ModelFormatError('TOKENIZER_UNSUPPORTED_MODEL', 'Quire runs BPE and Unigram models', details);
}

/** Older files do not say which. */
function guessType(fields: JsonFields): string {
  if (Array.isArray(fields.raw('vocab'))) return 'Unigram';
  return fields.has('vocab') && fields.has('merges') ? 'BPE' : 'unknown';
}

function readBpe(fields: JsonFields): BpeModel {
  const { vocab, tokens } = readVocab(fields.object('vocab'));
  const prefix = fields.stringOr('continuing_subword_prefix', '');
  const model: BpeModel = {
    type: 'BPE',
    vocab,
    tokens,
    merges: readMerges(fields, vocab, prefix),
    unkToken: fields.stringOr('unk_token', null),
    fuseUnk: fields.booleanOr('fuse_unk', false),
    byteFallback: fields.booleanOr('byte_fallback', false),
    ignoreMerges: fields.booleanOr('ignore_merges', false),
    continuingSubwordPrefix: prefix,
    endOfWordSuffix: fields.stringOr('end_of_word_suffix', ''),
  };
  checkUnknowns(fields, model);
  return model;
}

/** Reads an object of token -> id. */
export function readVocab(fields: JsonFields): Pick<BpeModel, 'vocab' | 'tokens'> {
  const vocab = new Map<string, number>();
  let size = 0;
  for (const [token, value] of fields.entries()) {
    const id = checkId(value, fields, token);
    vocab.set(token, id);
    size = Math.max(size, id + 1);
  }
  if (vocab.size === 0) {
    throw new ModelFormatError('TOKENIZER_BAD_FIELD', 'the vocabulary is empty', {
      file: fields.file,
      field: fields.path,
    });
  }
  const tokens = new Array<string | undefined>(size);
  for (const [token, id] of vocab) {
    if (tokens[id] !== undefined) throw duplicateId(fields, id, tokens[id], token);
    tokens[id] = token;
  }
  return { vocab, tokens };
}

function duplicateId(fields: JsonFields, id: number, owner: string, token: string): ModelFormatError {
  const found = `id ${id} for both ${showJson(owner)} and ${showJson(token)}`;
  const details = { file: fields.file, field: fields.path, found, expected: 'one token per id' };
  return new ModelFormatError('TOKENIZER_DUPLICATE_ID', 'two tokens have one id', details);
}

/** A token id in a file: an integer written as one, from 0 to 2^22 - 1. */
export function checkId(value: JsonValue | undefined, fields: JsonFields, name: string): number {
  if (typeof value === 'number' && value >= 0 && value < MAX_IDS) return value;
  const expected = `an integer from 0 to ${MAX_IDS - 1}`;
  const field = fields.pathOf(name.length > 60 ? `${name.slice(0, 57)}...` : name);
  throw new ModelFormatError('TOKENIZER_BAD_ID', 'this is not a token id', {
    file: fields.file,
    field,
    found: showJson(value),
    expected,
  });
}

function readMerges(fields: JsonFields, vocab: ReadonlyMap<string, number>, prefix: string): Int32Array {
  const raw = fields.array('merges');
  const form = typeof raw[0];
  const ids: number[] = [];
  raw.forEach((value, i) => {
    const fail = (found: string, expected: string): ModelFormatError =>
      mergeError(fields.file, `${fields.pathOf('merges')}[${i}]`, found, expected);
    if (typeof value !== form) throw fail(showJson(value), 'all merges in one form, strings or pairs');
    const merge = typeof value === 'string' ? splitMerge(value) : asPair(value);
    if (merge === null) throw fail(showJson(value), 'two pieces');
    addMerge(ids, merge, vocab, prefix, fail);
  });
  return Int32Array.from(ids);
}

/** A merge written as two pieces with a space between them, or null. */
export function splitMerge(line: string): Merge | null {
  const parts = line.split(' ');
  return parts.length === 2 && parts[0] !== '' && parts[1] !== '' ? [parts[0]!, parts[1]!] : null;
}

function asPair(value: JsonValue): Merge | null {
  if (!Array.isArray(value) || value.length !== 2) return null;
  const [left, right] = value;
  return typeof left === 'string' && typeof right === 'string' ? [left, right] : null;
}

/** Appends the ids of a merge: left, right, and what they make. All three must be in the vocabulary. */
export function addMerge(
  ids: number[],
  merge: Merge,
  vocab: ReadonlyMap<string, number>,
  prefix: string,
  fail: (found: string, expected: string) => ModelFormatError,
): void {
  const [left, right] = merge;
  for (const piece of [left, right, left + right.slice(prefix.length)]) {
    const id = vocab.get(piece);
    if (id === undefined) throw fail(`the piece ${showJson(piece)}`, 'pieces of the vocabulary');
    ids.push(id);
  }
}

export function mergeError(file: string, field: string, found: string, expected: string): ModelFormatError {
  return new ModelFormatError('TOKENIZER_BAD_MERGE', 'this merge cannot be applied', { file, field, found, expected });
}

function checkUnknowns(fields: JsonFields, model: BpeModel): void {
  if (model.unkToken !== null && !model.vocab.has(model.unkToken)) {
    const details = {
      file: fields.file,
      field: fields.pathOf('unk_token'),
      found: showJson(model.unkToken),
      expected: 'a token of the vocabulary',
    };
    throw new ModelFormatError('TOKENIZER_SPECIAL_TOKEN', 'the unknown token is not in the vocabulary', details);
  }
  if (model.byteFallback) checkByteTokens(fields, model.vocab);
}

/** Throws unless a byte-level vocabulary can spell every text, or has a token for what it cannot spell. */
export function checkByteAlphabet(model: BpeModel, file: string): void {
  if (model.unkToken !== null) return;
  const missing = byteToChar.findIndex((char, byte) => occursInUtf8(byte) && !model.vocab.has(char));
  if (missing < 0) return;
  const found = `no token ${showJson(byteToChar[missing]!)} for byte ${missing}`;
  const details = { file, field: 'model.vocab', found, expected: 'a token for every byte of UTF-8, or an unk_token' };
  throw new ModelFormatError('TOKENIZER_BYTE_ALPHABET', 'the byte-level vocabulary cannot spell every text', details);
}

function occursInUtf8(byte: number): boolean {
  return byte !== 0xc0 && byte !== 0xc1 && byte < 0xf5;
}
