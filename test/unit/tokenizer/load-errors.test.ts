import { describe, expect, it } from 'vitest';
import { ModelFormatError } from '../../../packages/core/src/errors.ts';
import { loadTokenizer, type Tokenizer } from '../../../packages/core/src/tokenizer/index.ts';
import type { ModelSource } from '../../../packages/core/src/weights/types.ts';
import { byteLevelJson, cpuClock, memoryFolder, modelFiles } from './sources.ts';

type Files = Record<string, string | object | Uint8Array>;

async function failure(files: Files): Promise<ModelFormatError> {
  const elapsed = cpuClock();
  const error = await loadTokenizer(memoryFolder(files)).then(
    () => new Error('the folder was accepted'),
    thrown => thrown,
  );
  expect(error).toBeInstanceOf(ModelFormatError);
  expect(elapsed()).toBeLessThan(1500);
  return error;
}

const json = (overrides: Record<string, unknown>): Files => ({ 'tokenizer.json': byteLevelJson(overrides) });
const bytes = byteLevelJson().model as { vocab: Record<string, number> };
const model = (overrides: Record<string, unknown>): Files =>
  json({ model: { type: 'BPE', vocab: bytes.vocab, merges: [], ...overrides } });
const vocab = (more: Record<string, unknown>): Files => model({ vocab: { ...bytes.vocab, ...more } });
const added = (...tokens: unknown[]): Files => json({ added_tokens: tokens });
const token = (id: unknown, content: unknown, more = {}) => ({ id, content, special: true, ...more });
const split = (pattern: unknown, more = {}): Files =>
  json({ pre_tokenizer: { type: 'Split', pattern, behavior: 'Isolated', invert: false, ...more } });
const text = (overrides: Record<string, unknown>): string => JSON.stringify(byteLevelJson(overrides));
const nested = (depth: number, list: string, inner: unknown): unknown => {
  let component = inner;
  for (let i = 0; i < depth; i++) component = { type: 'Sequence', [list]: [component] };
  return component;
};
const config = (values: object, files: Files = json({})): Files => ({ ...files, 'tokenizer_config.json': values });
const legacy = (more: Files): Files => ({ 'vocab.json': bytes.vocab, 'merges.txt': '#version: 0.2\n', ...more });

const cases: readonly (readonly [name: string, files: Files, code: string, mentions?: string])[] = [
  ['an empty folder', {}, 'TOKENIZER_MISSING', 'tokenizer.json'],
  [
    'a SentencePiece model only',
    { 'tokenizer.model': 'x', 'tokenizer_config.json': {} },
    'TOKENIZER_SENTENCEPIECE',
    'tokenizer.model',
  ],
  ['vocab.json alone', { 'vocab.json': {} }, 'TOKENIZER_MISSING', 'vocab.json alone'],
  ['merges.txt alone', { 'merges.txt': '' }, 'TOKENIZER_MISSING', 'merges.txt alone'],
  ['an empty file', { 'tokenizer.json': '' }, 'TOKENIZER_NOT_JSON'],
  ['half a file', { 'tokenizer.json': text({}).slice(0, 500) }, 'TOKENIZER_NOT_JSON', 'byte 500'],
  ['no JSON', { 'tokenizer.json': '<html>404</html>' }, 'TOKENIZER_NOT_JSON'],
  ['a list', { 'tokenizer.json': [] }, 'TOKENIZER_BAD_FIELD'],
  ['no UTF-8', { 'tokenizer.json': Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d) }, 'TOKENIZER_NOT_UTF8'],
  ['a key twice', { 'tokenizer.json': '{"model": {}, "model": {}}' }, 'TOKENIZER_DUPLICATE_KEY', 'model'],
  ['a token twice', { 'tokenizer.json': text({}).replace('"!":', '"\\u0021": 7, "!":') }, 'TOKENIZER_DUPLICATE_KEY'],
  ['nesting of 100,000', { 'tokenizer.json': '['.repeat(100_000) }, 'TOKENIZER_TOO_LARGE'],
  [
    'a broken tokenizer_config.json',
    { ...json({}), 'tokenizer_config.json': '{' },
    'TOKENIZER_NOT_JSON',
    'tokenizer_config.json',
  ],
  ['no model', json({ model: undefined }), 'TOKENIZER_BAD_FIELD', 'model'],
  ['a model of another type', model({ type: 'WordPiece', vocab: {} }), 'TOKENIZER_UNSUPPORTED_MODEL', 'WordPiece'],
  ['a model of no known type', model({ type: 'Magic' }), 'TOKENIZER_UNSUPPORTED_MODEL', 'Magic'],
  ['an empty vocabulary', model({ vocab: {} }), 'TOKENIZER_BAD_FIELD', 'model.vocab'],
  ['a vocabulary that is a list', model({ vocab: ['a'] }), 'TOKENIZER_BAD_FIELD', 'model.vocab'],
  ['one id for two tokens', vocab({ zz: 5 }), 'TOKENIZER_DUPLICATE_ID', 'zz'],
  ['a negative id', vocab({ zz: -1 }), 'TOKENIZER_BAD_ID', 'model.vocab.zz'],
  ['an id of 2^31', vocab({ zz: 2 ** 31 }), 'TOKENIZER_BAD_ID', '2147483648'],
  [
    'an id of 2^60',
    { 'tokenizer.json': text({}).replace('"!":', '"zz":1152921504606846976,"!":') },
    'TOKENIZER_BAD_ID',
    '1152921504606846976',
  ],
  ['a fraction as id', vocab({ zz: 300.5 }), 'TOKENIZER_BAD_ID', '300.5'],
  [
    'an id written as 300.0',
    { 'tokenizer.json': text({}).replace('"!":', '"zz":300.0,"!":') },
    'TOKENIZER_BAD_ID',
    '300.0',
  ],
  ['a text as id', vocab({ zz: '300' }), 'TOKENIZER_BAD_ID'],
  ['no id', vocab({ zz: null }), 'TOKENIZER_BAD_ID'],
  ['no merges', model({ merges: undefined }), 'TOKENIZER_BAD_FIELD', 'model.merges'],
  ['a merge of an unknown piece', model({ merges: ['a qq'] }), 'TOKENIZER_BAD_MERGE', 'qq'],
  ['a merge that makes no token', model({ merges: ['a b'] }), 'TOKENIZER_BAD_MERGE', '"ab"'],
  ['a merge of three pieces', model({ merges: ['a b c'] }), 'TOKENIZER_BAD_MERGE', 'model.merges[0]'],
  ['a merge of one piece', model({ merges: ['a'] }), 'TOKENIZER_BAD_MERGE'],
  ['a merge list of three', model({ merges: [['a', 'b', 'c']] }), 'TOKENIZER_BAD_MERGE'],
  ['a merge of numbers', model({ merges: [[1, 2]] }), 'TOKENIZER_BAD_MERGE'],
  [
    'merges in two forms',
    model({ vocab: { ...bytes.vocab, ab: 300 }, merges: ['a b', ['a', 'b']] }),
    'TOKENIZER_BAD_MERGE',
    'model.merges[1]',
  ],
  ['an unknown token that is none', model({ unk_token: '<none>' }), 'TOKENIZER_SPECIAL_TOKEN', '<none>'],
  ['byte fallback without bytes', model({ byte_fallback: true }), 'TOKENIZER_BYTE_ALPHABET', '<0x00>'],
  [
    'a byte alphabet with a hole',
    model({ vocab: Object.fromEntries(Object.entries(bytes.vocab).filter(([key]) => key !== 'é')) }),
    'TOKENIZER_BYTE_ALPHABET',
    'é',
  ],
  ['an added token with a taken id', added(token(5, '<new>')), 'TOKENIZER_ADDED_TOKEN', '<new>'],
  ['an added token with another id in the vocabulary', added(token(900, '!')), 'TOKENIZER_ADDED_TOKEN', '900'],
  ['an added token twice', added(token(900, '<x>'), token(901, '<x>')), 'TOKENIZER_ADDED_TOKEN', '<x>'],
  ['two added tokens with one id', added(token(900, '<x>'), token(900, '<y>')), 'TOKENIZER_ADDED_TOKEN', '<y>'],
  ['an empty added token', added(token(900, '')), 'TOKENIZER_ADDED_TOKEN'],
  ['an added token of a megabyte', added(token(900, 'x'.repeat(1e6))), 'TOKENIZER_ADDED_TOKEN'],
  ['an added token with a bad id', added(token(-1, '<x>')), 'TOKENIZER_BAD_ID'],
  ['an added token that is no object', added('x'), 'TOKENIZER_BAD_FIELD', 'added_tokens[0]'],
  ['an added token whose flag is a text', added(token(900, '<x>', { lstrip: 'no' })), 'TOKENIZER_BAD_FIELD', 'lstrip'],
  [
    'an added token of tokenizer_config.json with another id',
    config({ added_tokens_decoder: { '700': { content: '<s>' } } }),
    'TOKENIZER_ADDED_TOKEN',
  ],
  [
    'an added token of tokenizer_config.json with a bad id',
    config({ added_tokens_decoder: { x: { content: '<t>' } } }),
    'TOKENIZER_BAD_ID',
  ],
  ['an unknown normaliser', json({ normalizer: { type: 'Nmt' } }), 'TOKENIZER_UNSUPPORTED_NORMALIZER', 'Nmt'],
  ['a normaliser without type', json({ normalizer: {} }), 'TOKENIZER_BAD_FIELD', 'normalizer.type'],
  ['deep normalisers', json({ normalizer: nested(20, 'normalizers', { type: 'NFC' }) }), 'TOKENIZER_TOO_DEEP'],
  [
    '10,000 normalisers in each other',
    json({ normalizer: nested(2000, 'normalizers', { type: 'NFC' }) }),
    'TOKENIZER_TOO_LARGE',
  ],
  [
    '1,000 normalisers in a row',
    json({ normalizer: { type: 'Sequence', normalizers: Array(1000).fill({ type: 'NFC' }) } }),
    'TOKENIZER_TOO_DEEP',
  ],
  [
    'an unknown pre-tokeniser',
    json({ pre_tokenizer: { type: 'UnicodeScripts' } }),
    'TOKENIZER_UNSUPPORTED_PRE_TOKENIZER',
    'UnicodeScripts',
  ],
  ['an unknown split behaviour', split({ String: ' ' }, { behavior: 'Sometimes' }), 'TOKENIZER_BAD_FIELD', 'Sometimes'],
  ['a split without pattern', split({}), 'TOKENIZER_BAD_FIELD', 'pattern.Regex'],
  ['an unbalanced pattern', split({ Regex: '(a' }), 'TOKENIZER_REGEX', '(a'],
  ['a pattern with an inline flag', split({ Regex: '(?i)a' }), 'TOKENIZER_REGEX', '(?i)a'],
  ['a pattern with a subexpression call', split({ Regex: '(?<n>a)\\g<n>' }), 'TOKENIZER_REGEX'],
  ['a pattern with an unknown class', split({ Regex: '\\p{Nonsense}' }), 'TOKENIZER_REGEX', 'Nonsense'],
  ['a pattern of exponential time', split({ Regex: '(a+)+$' }), 'TOKENIZER_REGEX', '(a+)+$'],
  ['a pattern of quadratic time', split({ Regex: '\\s*x' }), 'TOKENIZER_REGEX', 'quadratic'],
  ['a pattern of cubic time', split({ Regex: 'q*q*z' }), 'TOKENIZER_REGEX', 'quadratic'],
  ['a pattern with twenty repeats', split({ Regex: `${'a*'.repeat(20)}b` }), 'TOKENIZER_REGEX', 'many repeats'],
  ['a repeat of alternatives', split({ Regex: '(?:a|a)*b' }), 'TOKENIZER_REGEX'],
  ['a pattern of 10,000 characters', split({ Regex: 'a'.repeat(10_000) }), 'TOKENIZER_REGEX'],
  [
    'an exponential pattern of the normaliser',
    json({ normalizer: { type: 'Replace', pattern: { Regex: '(x*)*' }, content: '' } }),
    'TOKENIZER_REGEX',
  ],
  ['a fixed length of 0', json({ pre_tokenizer: { type: 'FixedLength', length: 0 } }), 'TOKENIZER_BAD_FIELD'],
  ['an unknown decoder', json({ decoder: { type: 'Whisper' } }), 'TOKENIZER_UNSUPPORTED_DECODER', 'Whisper'],
  [
    'an unknown post-processor',
    json({ post_processor: { type: 'Magic' } }),
    'TOKENIZER_UNSUPPORTED_POST_PROCESSOR',
    'Magic',
  ],
  [
    'a post-processor with an unlisted token',
    json({
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<q>' } }, { Sequence: { id: 'A' } }],
        special_tokens: {},
      },
    }),
    'TOKENIZER_POST_PROCESSOR',
    '<q>',
  ],
  [
    'a post-processor with an id that is none',
    json({ post_processor: { type: 'BertProcessing', cls: ['<s>', 0], sep: ['</s>', 7000] } }),
    'TOKENIZER_POST_PROCESSOR',
    '7000',
  ],
  [
    'a post-processor without the text',
    json({ post_processor: { type: 'TemplateProcessing', single: [] } }),
    'TOKENIZER_POST_PROCESSOR',
  ],
  ['an end-of-text token that is none', config({ eos_token: '<none>' }), 'TOKENIZER_SPECIAL_TOKEN', 'eos_token'],
  ['an end-of-text token that is a number', config({ eos_token: 7 }), 'TOKENIZER_BAD_FIELD', 'eos_token'],
  [
    'old files with a merge of one piece',
    legacy({ 'merges.txt': '#version: 0.2\na\n' }),
    'TOKENIZER_BAD_MERGE',
    'line 2',
  ],
  ['old files with a merge of an unknown piece', legacy({ 'merges.txt': 'a qq' }), 'TOKENIZER_BAD_MERGE', 'qq'],
  ['old files that are no UTF-8', legacy({ 'merges.txt': Uint8Array.of(0xff) }), 'TOKENIZER_NOT_UTF8'],
  [
    'old files of an unknown class',
    legacy({ 'tokenizer_config.json': { tokenizer_class: 'RobertaTokenizer' } }),
    'TOKENIZER_UNSUPPORTED_MODEL',
    'Roberta',
  ],
  [
    'old files with a hole in the byte alphabet',
    legacy({ 'vocab.json': { a: 0 } }),
    'TOKENIZER_BYTE_ALPHABET',
    'vocab.json',
  ],
];

describe('a tokenizer that is wrong', () => {
  const rows = cases.map(([name, files, code, mentions = '']) => ({ name, files, code, mentions }));
  it.each(rows)('is refused: $name', async ({ files, code, mentions }) => {
    const error = await failure(files);
    expect(error.message).toContain(mentions);
    expect(error.code).toBe(code);
  });

  it('is refused before it is read, when it is too large', async () => {
    const source: ModelSource = {
      ...memoryFolder({}),
      location: 'x',
      list: async () => ['tokenizer.json'],
      size: async () => 2 ** 31,
      read: () => Promise.reject(new Error('read')),
      close: async () => {},
    };
    await expect(loadTokenizer(source)).rejects.toMatchObject({ code: 'TOKENIZER_TOO_LARGE' });
  });

  it('is refused wherever it is cut or damaged, with a typed error, or it works', async () => {
    const original = modelFiles('tiny-llama')['tokenizer.json']!;
    let state = 7;
    const random = (below: number): number => {
      state = (state * 48271) % 2147483647;
      return state % below;
    };
    for (let i = 0; i < 150; i++) {
      const damaged = original.slice(0, i % 3 === 0 ? random(original.length) : original.length);
      for (let k = 0; k < 3 && damaged.length > 0; k++) damaged[random(damaged.length)] = random(256);
      const error = await loadTokenizer(memoryFolder({ 'tokenizer.json': damaged })).then(
        tokenizer => tokenizer.encode('Once upon a time').length < 0,
        thrown => thrown,
      );
      if (error !== false) expect(error).toBeInstanceOf(ModelFormatError);
    }
  });
});

describe('a tokenizer that is only unusual', () => {
  const load = (files: Files): Promise<Tokenizer> => loadTokenizer(memoryFolder(files));

  it('may have gaps in its ids', async () => {
    const tokenizer = await load(vocab({ zz: 1000 }));
    expect(tokenizer.vocabSize).toBe(1001);
    expect(tokenizer.decode([999, 2])).toBe('!');
    expect(tokenizer.tokenBytes(999)).toHaveLength(0);
  });

  it('may name tokens like the properties of objects', async () => {
    const files = {
      'tokenizer.json': text({}).replace('"!":', '"__proto__":700,"constructor":701,"toString":702,"!":'),
    };
    const tokenizer = await load(files);
    expect(tokenizer.tokenToId('__proto__')).toBe(700);
    expect(tokenizer.tokenToId('hasOwnProperty')).toBeUndefined();
  });

  it('may hold odd values that change nothing', async () => {
    const values = {
      model_max_length: 1e30,
      clean_up_tokenization_spaces: true,
      special_tokens_map_file: '/etc/passwd',
      auto_map: { x: '../y' },
    };
    const tokenizer = await load(config(values));
    expect(tokenizer.decode(tokenizer.encode("do n't , stop ."))).toBe("do n't , stop .");
  });

  it('may write merges either way, repeat them, and have tokens with no use', async () => {
    const more = { ...bytes.vocab, ab: 300, abc: 301 };
    for (const merges of [
      ['a b', 'ab c', 'a b'],
      [
        ['a', 'b'],
        ['ab', 'c'],
        ['a', 'b'],
      ],
    ]) {
      expect((await load(model({ vocab: more, merges }))).encode('abc')).toEqual([301]);
    }
  });

  it('may lack bytes that no text has', async () => {
    const spare = Object.entries(bytes.vocab).filter(([key]) => !['À', 'Á', 'õ', 'ÿ'].includes(key));
    expect((await load(model({ vocab: Object.fromEntries(spare) }))).vocabSize).toBeGreaterThan(250);
  });

  it('adds the tokens of the configuration', async () => {
    const tokenizer = await load(
      config({
        added_tokens_decoder: { '600': { content: '<tool>', special: false } },
        eos_token: { content: '</s>' },
        pad_token: '<nowhere>',
        additional_special_tokens: ['!', '<tool>'],
      }),
    );
    expect(tokenizer.encode('<tool>')).toEqual([600]);
    expect(tokenizer.eosTokenId).toBe(1);
    expect(tokenizer.specialTokenIds.has(600)).toBe(true);
    expect(tokenizer.encode('!', { parseSpecialTokens: false }).every(id => !tokenizer.specialTokenIds.has(id))).toBe(
      true,
    );
  });

  it('may have a normaliser that makes special spellings out of plain text', async () => {
    const tokenizer = await load(json({ normalizer: { type: 'NFKC' } }));
    expect(tokenizer.encode('<s>')).toEqual([0]);
    expect(tokenizer.decode(tokenizer.encode('\uff1cs\uff1e', { parseSpecialTokens: false }))).toBe('<s>');
    expect(tokenizer.encode('\uff1cs\uff1e').every(id => !tokenizer.specialTokenIds.has(id))).toBe(true);
  });

  it('puts around a prompt what the post-processor says', async () => {
    const cls = { type: 'RobertaProcessing', cls: ['<s>', 0], sep: ['</s>', 1] };
    const twice = {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: 'x' } }, { Sequence: { id: 'A' } }],
      special_tokens: { x: { id: 'x', ids: [1, 1], tokens: ['</s>', '</s>'] } },
    };
    const tokenizer = await load(
      json({ post_processor: { type: 'Sequence', processors: [{ type: 'ByteLevel' }, cls, twice] } }),
    );
    expect(tokenizer.encode('!')).toEqual([1, 1, 0, 2, 1]);
    expect(tokenizer.encode('!', { addSpecialTokens: false })).toEqual([2]);
    expect(() => tokenizer.encode('!', { maxTokens: 4 })).toThrow(/more than 4 tokens/);
    expect(tokenizer.encode('!', { maxTokens: 5 })).toHaveLength(5);
  });

  it('follows add_bos_token where the class does', async () => {
    const values = { bos_token: '<s>', eos_token: '</s>', add_bos_token: true, add_eos_token: true };
    expect((await load(config({ ...values, tokenizer_class: 'LlamaTokenizerFast' }))).encode('!')).toEqual([0, 2, 1]);
    expect((await load(config({ ...values, tokenizer_class: 'PreTrainedTokenizerFast' }))).encode('!')).toEqual([2]);
  });
});

describe('vocab.json and merges.txt', () => {
  it('load as facebook/opt-125m publishes them', async () => {
    const tokens = { '<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3 };
    const shifted = Object.fromEntries(
      Object.keys(bytes.vocab)
        .filter(key => !(key in tokens))
        .map((key, i) => [key, i + 4]),
    );
    const size = Object.keys(shifted).length + 4;
    const asObject = (content: string) => ({
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: true,
    });
    const tokenizer = await loadTokenizer(
      memoryFolder({
        'vocab.json': { ...tokens, ...shifted, Ġa: size, hi: size + 1 },
        'merges.txt': '#version: 0.2\r\nĠ a\r\nh i\r\n\r\n',
        'special_tokens_map.json': {
          bos_token: asObject('</s>'),
          eos_token: asObject('</s>'),
          unk_token: asObject('</s>'),
          pad_token: asObject('<pad>'),
        },
        'tokenizer_config.json': {
          errors: 'replace',
          bos_token: { __type: 'AddedToken', ...asObject('</s>') },
          eos_token: { __type: 'AddedToken', ...asObject('</s>') },
          add_bos_token: true,
          add_prefix_space: false,
          tokenizer_class: 'GPT2Tokenizer',
        },
      }),
    );
    expect(tokenizer.encode('hi a')).toEqual([2, size + 1, size]);
    expect(tokenizer.bosTokenId).toBe(2);
    expect(tokenizer.eosTokenId).toBe(2);
    expect(tokenizer.specialTokenIds).toEqual(new Set([1, 2]));
    expect(tokenizer.decode([2, size + 1, size])).toBe('hi a');
    expect(tokenizer.hasChatTemplate).toBe(false);
  });

  it('take the tokens of added_tokens.json and the options of the configuration', async () => {
    const files = legacy({
      'added_tokens.json': { '<mask>': 500 },
      'tokenizer_config.json': { add_prefix_space: true, eos_token: '</s>', add_eos_token: true },
    });
    const tokenizer = await loadTokenizer(memoryFolder(files));
    expect(tokenizer.encode('!<mask>')).toEqual([tokenizer.tokenToId('Ġ'), 2, 500, 1]);
  });

  it('split text as Qwen2 does when it is Qwen2', async () => {
    const files = legacy({ 'tokenizer_config.json': { tokenizer_class: 'Qwen2Tokenizer' } });
    const tokenizer = await loadTokenizer(memoryFolder(files));
    expect(tokenizer.decode(tokenizer.encode('e\u0301 12'))).toBe('é 12');
  });
});
