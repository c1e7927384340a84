import { ModelFormatError } from '../../errors.ts';
import type { GgufMetadata } from './metadata.ts';

/** What tokenizer.json and tokenizer_config.json of Hugging Face would say. */
export interface TokenizerFilesOf {
  readonly tokenizer: object;
  readonly config: object;
}

/** `tokenizer.ggml.token_type`. */
const TokenType = { unknown: 2, control: 3, userDefined: 4, byte: 6 } as const;
const SPACE = '\u2581';

/** The tokenizer of a file; null: it has none. Throws ModelFormatError GG_TOKENIZER for one that is not done here. */
export function tokenizerOf(metadata: GgufMetadata): TokenizerFilesOf | null {
  if (!metadata.has('tokenizer.ggml.model')) return null;
  const model = metadata.string('tokenizer.ggml.model');
  const tokens = metadata.strings('tokenizer.ggml.tokens');
  const types = metadata.has('tokenizer.ggml.token_type') ? metadata.numbers('tokenizer.ggml.token_type') : [];
  checkDistinct(tokens, metadata);
  const parts =
    model === 'gpt2' ? byteLevel(tokens, metadata) : model === 'llama' ? sentencePiece(tokens, types, metadata) : null;
  if (parts === null) throw metadata.bad('tokenizer.ggml.model', 'gpt2 or llama', 'GG_TOKENIZER');
  const special = (name: string) => tokenText(`tokenizer.ggml.${name}_token_id`, tokens, metadata);
  const [bos, eos] = [special('bos'), special('eos')];
  const adds = (name: string, fallback: boolean) => metadata.boolean(`tokenizer.ggml.add_${name}_token`, fallback);
  const isSentencePiece = model === 'llama';
  const before = adds('bos', isSentencePiece) && bos !== null ? [bos] : [];
  const behind = adds('eos', false) && eos !== null ? [eos] : [];
  return {
    tokenizer: {
      version: '1.0',
      added_tokens: addedTokens(tokens, types),
      post_processor: affixes(before, behind, tokens),
      ...parts,
    },
    config: {
      bos_token: bos,
      eos_token: eos,
      unk_token: special('unknown'),
      pad_token: special('padding'),
      ...(metadata.has('tokenizer.chat_template') ? { chat_template: metadata.string('tokenizer.chat_template') } : {}),
    },
  };
}

function checkDistinct(tokens: readonly string[], metadata: GgufMetadata): void {
  const seen = new Set(tokens);
  if (seen.size === tokens.length) return;
  throw new ModelFormatError('GG_TOKENIZER', 'two tokens of the vocabulary are the same', {
    file: metadata.file,
    field: 'tokenizer.ggml.tokens',
    found: `${tokens.length} tokens, ${seen.size} of them different`,
    expected: 'every token once',
  });
}

function tokenText(key: string, tokens: readonly string[], metadata: GgufMetadata): string | null {
  if (!metadata.has(key)) return null;
  const id = metadata.size(key);
  // llama.cpp writes the largest number for none.
  return tokens[id] ?? null;
}

function addedTokens(tokens: readonly string[], types: readonly number[]): object[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== TokenType.control && type !== TokenType.userDefined && type !== TokenType.unknown) return [];
    const special = type !== TokenType.userDefined;
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

function affixes(before: readonly string[], behind: readonly string[], tokens: readonly string[]): object {
  const used = [...new Set([...before, ...behind])];
  const token = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  return {
    type: 'TemplateProcessing',
    single: [...before.map(token), { Sequence: { id: 'A', type_id: 0 } }, ...behind.map(token)],
    pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: Object.fromEntries(used.map(id => [id, { id, ids: [tokens.indexOf(id)], tokens: [id] }])),
  };
}

function vocabulary(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

// -------------------------------------------------------------------------------------------------------------- byte-level BPE

const LLAMA3_WORDS =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const QWEN2_WORDS = LLAMA3_WORDS.replace('{1,3}', '');

const bytes = (useRegex: boolean) => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const split = (regex: string) => ({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false });
const sequence = (...pretokenizers: object[]) => ({ type: 'Sequence', pretokenizers });

/** By `tokenizer.ggml.pre`: how text is cut into words. */
const preTokenizers: Readonly<Record<string, object>> = {
  'gpt-2': bytes(true),
  'llama-bpe': sequence(split(LLAMA3_WORDS), bytes(false)),
  qwen2: sequence(split(QWEN2_WORDS), bytes(false)),
  smollm: sequence({ type: 'Digits', individual_digits: true }, bytes(true)),
};
const aliases: Readonly<Record<string, string>> = { llama3: 'llama-bpe', 'llama-v3': 'llama-bpe' };

function byteLevel(tokens: readonly string[], metadata: GgufMetadata): object {
  const key = 'tokenizer.ggml.pre';
  const name = metadata.string(key, 'default');
  const known = aliases[name] ?? name;
  if (!Object.hasOwn(preTokenizers, known)) {
    throw metadata.bad(key, `one of ${Object.keys(preTokenizers).join(', ')}`, 'GG_TOKENIZER');
  }
  const merges = metadata.strings('tokenizer.ggml.merges').map(merge => {
    const cut = merge.indexOf(' ', 1);
    return [merge.slice(0, cut), merge.slice(cut + 1)];
  });
  return {
    // Qwen's tokenizer composes letters first.
    normalizer: known === 'qwen2' ? { type: 'NFC' } : null,
    pre_tokenizer: preTokenizers[known],
    decoder: bytes(true),
    model: {
      type: 'BPE',
      vocab: vocabulary(tokens),
      merges,
      // Llama 3 takes a whole word that is a token without merging.
      ignore_merges: known === 'llama-bpe',
      ...noAffixes,
      byte_fallback: false,
      fuse_unk: false,
      unk_token: null,
    },
  };
}

const noAffixes = { dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null };

// --------------------------------------------------------------------------------------------------------------- SentencePiece

/**
 * SentencePiece's BPE: of two neighbours, those whose union has the best score are joined first. As a list of merges: every way to cut
 * a token into two tokens, the best union first (what transformers makes of such a model).
 */
function sentencePiece(tokens: readonly string[], types: readonly number[], metadata: GgufMetadata): object {
  const scores = metadata.numbers('tokenizer.ggml.scores');
  if (scores.length !== tokens.length)
    throw metadata.bad('tokenizer.ggml.scores', `a list of ${tokens.length}: one for each token`);
  const unknown = tokenText('tokenizer.ggml.unknown_token_id', tokens, metadata) ?? '<unk>';
  const hasPrefix = metadata.boolean('tokenizer.ggml.add_space_prefix', true);
  const toSpaces = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const fromSpaces = { type: 'Replace', pattern: { String: SPACE }, content: ' ' };
  const strip = hasPrefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [];
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [...(hasPrefix ? [{ type: 'Prepend', prepend: SPACE }] : []), toSpaces],
    },
    pre_tokenizer: null,
    decoder: { type: 'Sequence', decoders: [fromSpaces, { type: 'ByteFallback' }, { type: 'Fuse' }, ...strip] },
    model: {
      type: 'BPE',
      vocab: vocabulary(tokens),
      merges: mergesOf(tokens, types, scores),
      ...noAffixes,
      byte_fallback: true,
      fuse_unk: true,
      unk_token: tokens.includes(unknown) ? unknown : null,
    },
  };
}

/** Longest token that is cut: real ones are shorter, and a longer one would take a long time. */
const MAX_CUT_LENGTH = 256;

function mergesOf(tokens: readonly string[], types: readonly number[], scores: readonly number[]): [string, string][] {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const type = types[id];
    const isPiece = type === undefined || type === 1 || type === TokenType.userDefined;
    if (isPiece && token !== '' && token.length <= MAX_CUT_LENGTH) ids.set(token, id);
  }
  const merges: { left: string; right: string; id: number }[] = [];
  for (const [token, id] of ids) {
    const cuts: [number, number, string, string][] = [];
    for (let at = 1; at < token.length; at++) {
      const [left, right] = [token.slice(0, at), token.slice(at)];
      const [l, r] = [ids.get(left), ids.get(right)];
      if (l !== undefined && r !== undefined) cuts.push([l, r, left, right]);
    }
    cuts.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (const [, , left, right] of cuts) merges.push({ left, right, id });
  }
  // Stable: the cuts of one token stay in their order.
  merges.sort((a, b) => scores[b.id]! - scores[a.id]!);
  return merges.map(({ left, right }) => [left, right]);
}
