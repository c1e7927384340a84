import { spaceAfter, spaceBefore } from './added-tokens.ts';
import { toByteAlphabet } from './byte-alphabet.ts';
import { readCharsMap } from './chars-map.ts';
import { readPattern } from './check-regex.ts';
import { flattenSequence, unsupported } from './component.ts';
import type { JsonFields } from './json-fields.ts';
import { BertNormalizer } from './tokenizers-library.ts';

/** Changes text before it is split into words. */
export type Normalizer = (text: string) => string;

const known =
  'NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Precompiled, ByteLevel, BertNormalizer, Sequence';

/** Reads `normalizer` of tokenizer.json; null where there is none. */
export function readNormalizer(root: JsonFields): Normalizer | null {
  const steps = flattenSequence(root, 'normalizer', 'normalizers').map(readOne);
  return steps.length === 0 ? null : text => steps.reduce((changed, step) => step(changed), text);
}

function readOne(fields: JsonFields): Normalizer {
  const type = fields.string('type');
  switch (type) {
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return text => text.normalize(type);
    case 'Lowercase':
      return text => text.toLowerCase();
    case 'StripAccents':
      return text => text.replace(/\p{Mn}/gu, '');
    case 'Strip':
      return readStrip(fields);
    case 'Replace':
      return readReplace(fields);
    case 'Prepend':
      return readPrepend(fields);
    case 'Precompiled':
      return readCharsMap(fields);
    case 'ByteLevel':
      return toByteAlphabet;
    case 'BertNormalizer':
      return readBert(fields);
    default:
      throw unsupported('TOKENIZER_UNSUPPORTED_NORMALIZER', fields, known);
  }
}

function readStrip(fields: JsonFields): Normalizer {
  const left = fields.booleanOr('strip_left', true);
  const right = fields.booleanOr('strip_right', true);
  return text => {
    const start = left ? spaceAfter(text, 0) : 0;
    return text.slice(start, right ? spaceBefore(text, text.length, start) : text.length);
  };
}

function readReplace(fields: JsonFields): Normalizer {
  const pattern = readPattern(fields);
  const content = fields.string('content');
  const plain = fields.object('pattern').stringOr('String', '');
  // Much faster than a regular expression on a text of spaces.
  if (plain !== '') return text => text.split(plain).join(content);
  return text => text.replace(pattern, () => content);
}

function readPrepend(fields: JsonFields): Normalizer {
  const prepend = fields.string('prepend');
  return text => (text === '' ? text : prepend + text);
}

function readBert(fields: JsonFields): Normalizer {
  const lowercase = fields.booleanOr('lowercase', true);
  const normalizer = new BertNormalizer({
    type: 'BertNormalizer',
    clean_text: fields.booleanOr('clean_text', true),
    handle_chinese_chars: fields.booleanOr('handle_chinese_chars', true),
    strip_accents: fields.booleanOr('strip_accents', lowercase),
    lowercase,
  });
  return text => normalizer.normalize(text);
}
