/** Tokenizers as SentencePiece models are converted to, with small vocabularies made by the tests. */

export const SPACE = '\u2581';
const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
const special = ['<unk>', '<s>', '</s>'];
const addedTokens = special.map((content, id) => ({ id, content, special: true, normalized: false }));

/** Merges learnt from a text, most frequent pair first: enough to have pieces of several lengths. */
function learn(text: string, count: number): [string, string][] {
  const words = text.split(' ').map(word => [SPACE, ...word]);
  const merges: [string, string][] = [];
  while (merges.length < count) {
    const pairs = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]} ${word[i + 1]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
      }
    }
    const [best] = [...pairs].sort((a, b) => b[1] - a[1])[0] ?? [];
    if (best === undefined) break;
    const [left, right] = best.split(' ') as [string, string];
    merges.push([left, right]);
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
      }
    }
  }
  return merges;
}

const corpus =
  'the quick brown fox jumps over the lazy dog and then the other dogs jump over that fox while there is time to think ' +
  'of the things that others have thought of the weather this and that and these and those 12 2024 3.14 hello world';

/** A BPE with byte fallback, as Llama 2's (`prepend`) and Gemma's are. */
export function sentencePieceBpe(prepend: boolean): Record<string, unknown> {
  const merges = learn(corpus, 150);
  const alphabet = [...new Set([SPACE, ...corpus.replaceAll(' ', ''), ...'ABCé世'])];
  const pieces = [...special, ...bytes, ...alphabet, ...new Set(merges.map(([left, right]) => left + right))];
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: SPACE };
  const decoders = [
    { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(prepend ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ];
  return {
    added_tokens: addedTokens,
    normalizer: prepend ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, replace] } : replace,
    pre_tokenizer: prepend
      ? null
      : { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: { type: 'Sequence', decoders },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: merges.map(pair => pair.join(' ')),
    },
  };
}

/** A Unigram model as T5's: Metaspace, and scores that no two ways to spell a word share. */
export function unigram(overrides: Record<string, unknown> = {}): Record<string, unknown> {
  const merged = learn(corpus, 120).map(([left, right]) => left + right);
  const pieces = [...new Set([SPACE, ...corpus.replaceAll(' ', ''), ...merged])];
  const scored = pieces.map((piece, i) => [
    piece,
    -3 - Math.log(i + 2) - (piece.length === 1 ? 4 : 0) - i * 1.234567e-4,
  ]);
  return {
    added_tokens: addedTokens,
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: SPACE, prepend_scheme: 'always', split: true },
    post_processor: null,
    decoder: { type: 'Metaspace', replacement: SPACE, prepend_scheme: 'always', split: true },
    model: {
      type: 'Unigram',
      unk_id: 0,
      vocab: [...special.map(token => [token, 0]), ...scored],
      byte_fallback: false,
      ...(overrides as object),
    },
  };
}
