import { ModelFormatError } from '../errors.ts';
import { showJson } from '../weights/json-tree.ts';
import type { BpeModel } from './bpe.ts';
import { fromByteAlphabet } from './byte-alphabet.ts';
import { addMerge, checkByteAlphabet, mergeError, readVocab, splitMerge } from './check-model.ts';
import type { TokenizerFiles } from './files.ts';
import type { JsonFields } from './json-fields.ts';
import type { Normalizer } from './normalizer.ts';
import { compilePattern, type PreTokenizerConfig } from './pre-tokenizer.ts';
import type { TokenizerSpec } from './tokenizer-spec.ts';

const qwenWords =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/**
 * The byte-level BPE that vocab.json and merges.txt stand for, as GPT-2, OPT and Qwen2 publish it. The files do not say how text
 * is cut into words; that follows from `tokenizer_class`.
 */
export async function readLegacySpec(
  files: TokenizerFiles,
  config: JsonFields,
): Promise<Omit<TokenizerSpec, 'addedTokens' | 'affixes'>> {
  const { normalizer, preTokenizers } = splittingOf(config);
  const { vocab, tokens } = readVocab(await files.readVocabulary('vocab.json'));
  const model: BpeModel = {
    type: 'BPE',
    vocab,
    tokens,
    merges: readMergesText(await files.readText('merges.txt'), vocab),
    unkToken: null,
    fuseUnk: false,
    byteFallback: false,
    ignoreMerges: false,
    continuingSubwordPrefix: '',
    endOfWordSuffix: '',
  };
  checkByteAlphabet(model, 'vocab.json');
  return {
    model,
    normalizer,
    preTokenizers,
    decoder: { type: 'bytes', tokenBytes: fromByteAlphabet, leadingSpaces: 0 },
  };
}

function splittingOf(config: JsonFields): { normalizer: Normalizer | null; preTokenizers: PreTokenizerConfig[] } {
  const name = config.stringOr('tokenizer_class', 'GPT2Tokenizer').replace(/Fast$/, '');
  const addPrefixSpace = config.booleanOr('add_prefix_space', false);
  if (name === 'GPT2Tokenizer' || name === 'CodeGenTokenizer') {
    return { normalizer: null, preTokenizers: [{ type: 'ByteLevel', addPrefixSpace, useRegex: true }] };
  }
  if (name === 'Qwen2Tokenizer') {
    const split = {
      type: 'Split',
      pattern: compilePattern({ Regex: qwenWords }),
      behavior: 'Isolated',
      invert: false,
    } as const;
    const bytes = { type: 'ByteLevel', addPrefixSpace, useRegex: false } as const;
    return { normalizer: text => text.normalize('NFC'), preTokenizers: [split, bytes] };
  }
  const details = {
    file: config.file,
    field: 'tokenizer_class',
    found: showJson(name),
    expected: 'GPT2Tokenizer, CodeGenTokenizer or Qwen2Tokenizer',
  };
  const advice = 'Save the tokenizer with Hugging Face tokenizers, which writes a tokenizer.json.';
  throw new ModelFormatError(
    'TOKENIZER_UNSUPPORTED_MODEL',
    'vocab.json and merges.txt do not tell how this class splits text',
    { ...details, advice },
  );
}

function readMergesText(text: string, vocab: ReadonlyMap<string, number>): Int32Array {
  const ids: number[] = [];
  text.split('\n').forEach((raw, i) => {
    const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
    if (line === '' || (i === 0 && line.startsWith('#version'))) return;
    const fail = (found: string, expected: string): ModelFormatError =>
      mergeError('merges.txt', `line ${i + 1}`, found, expected);
    const merge = splitMerge(line);
    if (merge === null) throw fail(showJson(line), 'two pieces with a space between them');
    addMerge(ids, merge, vocab, '', fail);
  });
  return Int32Array.from(ids);
}
