import { readPattern } from './check-regex.ts';
import { flattenSequence, unsupported } from './component.ts';
import type { JsonFields } from './json-fields.ts';
import { compilePattern, fixedPatterns, type PreTokenizerConfig } from './pre-tokenizer.ts';
import { type SplitBehavior, splitBehaviors } from './split.ts';

const known =
  'ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer, FixedLength, Sequence';

/** Reads `pre_tokenizer` of tokenizer.json. */
export function readPreTokenizers(root: JsonFields): PreTokenizerConfig[] {
  return flattenSequence(root, 'pre_tokenizer', 'pretokenizers').flatMap(readOne);
}

function readOne(fields: JsonFields): PreTokenizerConfig | PreTokenizerConfig[] {
  switch (fields.string('type')) {
    case 'ByteLevel':
      return {
        type: 'ByteLevel',
        addPrefixSpace: fields.booleanOr('add_prefix_space', true),
        useRegex: fields.booleanOr('use_regex', true),
      };
    case 'Split':
      return split(
        readPattern(fields),
        fields.oneOf('behavior', splitBehaviors, 'Isolated'),
        fields.booleanOr('invert', false),
      );
    case 'Metaspace':
      return readMetaspace(fields);
    case 'Digits':
      return split(fixedPatterns.numeric, fields.booleanOr('individual_digits', false) ? 'Isolated' : 'Contiguous');
    case 'Punctuation':
      return split(fixedPatterns.punctuation, fields.oneOf('behavior', splitBehaviors, 'Isolated'));
    case 'Whitespace':
      return split(fixedPatterns.words, 'Removed', true);
    case 'WhitespaceSplit':
      return split(fixedPatterns.whitespace, 'Removed');
    case 'CharDelimiterSplit':
      return split(compilePattern({ String: fields.string('delimiter') }), 'Removed');
    case 'BertPreTokenizer':
      return [split(fixedPatterns.whitespace, 'Removed'), split(fixedPatterns.punctuation, 'Isolated')];
    case 'FixedLength':
      return { type: 'FixedLength', length: readLength(fields) };
    default:
      throw unsupported('TOKENIZER_UNSUPPORTED_PRE_TOKENIZER', fields, known);
  }
}

function split(pattern: RegExp, behavior: SplitBehavior, invert = false): PreTokenizerConfig {
  return { type: 'Split', pattern, behavior, invert };
}

function readMetaspace(fields: JsonFields): PreTokenizerConfig {
  // Files from before prepend_scheme have add_prefix_space.
  const legacy = fields.booleanOr('add_prefix_space', true) ? 'always' : 'never';
  return {
    type: 'Metaspace',
    replacement: fields.stringOr('replacement', '\u2581'),
    prependScheme: fields.oneOf('prepend_scheme', ['always', 'first', 'never'], legacy),
    split: fields.booleanOr('split', true),
  };
}

function readLength(fields: JsonFields): number {
  const length = fields.raw('length');
  if (typeof length === 'number' && length > 0) return length;
  throw unsupported('TOKENIZER_BAD_FIELD', fields, 'a length above 0', 'length');
}
