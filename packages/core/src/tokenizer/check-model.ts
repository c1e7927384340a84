import { ModelFormatError } from '../errors.ts';
import { type JsonValue, showJson } from '../weights/json-tree.ts';
import { type BpeModel, byteFallbackToken } from './bpe.ts';
import { byteToChar } from './byte-alphabet.ts';
import type { JsonFields } from './json-fields.ts';

/** Ids lie below this. The largest published vocabulary has about 260,000 tokens. */
const MAX_IDS = 4_194_304;

type Merge = readonly [left: string, right: string];

/** Reads `model` of tokenizer.json. */
export function readModel(root: JsonFields): BpeModel {
  const fields = root.object('model');
  const type = fields.stringOr('type', fields.has('vocab') && fields.has('merges') ? 'BPE' : 'unknown');
  if (type !== 'BPE') {
    const details = { file: root.file, field: 'model.type', found: showJson(type), expected: 'BPE' };
    throw new ModelFormatError('TOKENIZER_UNSUPPORTED_MODEL', 'Quire runs byte-pair encodings only', details);
  }
  const vocab = readVocab(fields.object('vocab'));
  const prefix = fields.stringOr('continuing_subword_prefix', '');
  const model: BpeModel = {
    vocab,
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
export function readVocab(fields: JsonFields): Map<string, number> {
  const vocab = new Map<string, number>();
  const owners: string[] = [];
  for (const [token, value] of fields.entries()) {
    const id = checkId(value, fields, token);
    const owner = owners[id];
    if (owner !== undefined) {
      const found = `id ${id} for both ${showJson(owner)} and ${showJson(token)}`;
      throw new ModelFormatError('TOKENIZER_DUPLICATE_ID', 'two tokens have one id', {
        file: fields.file,
        field: fields.path,
        found,
      });
    }
    owners[id] = token;
    vocab.set(token, id);
  }
  if (vocab.size > 0) return vocab;
  throw new ModelFormatError('TOKENIZER_BAD_FIELD', 'the vocabulary is empty', {
    file: fields.file,
    field: fields.path,
  });
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

function readMerges(fields: JsonFields, vocab: ReadonlyMap<string, number>, prefix: string): Merge[] {
  const raw = fields.array('merges');
  const form = typeof raw[0];
  return raw.map((value, i) => {
    const field = `${fields.pathOf('merges')}[${i}]`;
    if (typeof value !== form)
      throw mergeError(fields.file, field, showJson(value), 'all merges in one form, strings or pairs');
    const merge = typeof value === 'string' ? splitMerge(value) : asPair(value);
    if (merge === null) throw mergeError(fields.file, field, showJson(value), 'two pieces');
    checkMerge(merge, vocab, prefix, fields.file, field);
    return merge;
  });
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

/** Throws TOKENIZER_BAD_MERGE unless both pieces and what they make are in the vocabulary. */
export function checkMerge(
  merge: Merge,
  vocab: ReadonlyMap<string, number>,
  prefix: string,
  file: string,
  field: string,
): void {
  const [left, right] = merge;
  const missing = [left, right, left + right.slice(prefix.length)].find(piece => !vocab.has(piece));
  if (missing !== undefined)
    throw mergeError(file, field, `the piece ${showJson(missing)}`, 'pieces of the vocabulary');
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
  if (!model.byteFallback) return;
  const missing = Array.from({ length: 256 }, (_, byte) => byteFallbackToken(byte)).find(
    token => !model.vocab.has(token),
  );
  if (missing === undefined) return;
  const details = {
    file: fields.file,
    field: fields.pathOf('byte_fallback'),
    found: `no token ${missing}`,
    expected: '<0x00> to <0xFF>',
  };
  throw new ModelFormatError('TOKENIZER_BYTE_ALPHABET', 'byte fallback needs a token for every byte', details);
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
