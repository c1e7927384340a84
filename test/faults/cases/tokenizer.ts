import { readFileSync, writeFileSync } from 'node:fs';
import { type BadFolder, type Content, changed } from '../harness/bad-folder.ts';

// The tokenizer of the bundled Llama model, of which each case changes one thing.
interface TokenizerJson {
  added_tokens: { id: unknown; content: unknown; [flag: string]: unknown }[];
  normalizer: unknown;
  pre_tokenizer: unknown;
  post_processor: unknown;
  decoder: unknown;
  model: { vocab: Record<string, unknown>; merges: unknown[]; [field: string]: unknown };
}

const source = readFileSync('models/tiny-llama/tokenizer.json', 'utf8');

function tokenizer(
  name: string,
  code: string,
  change: (tokenizer: TokenizerJson) => void,
  message?: RegExp,
): BadFolder {
  const json = JSON.parse(source) as TokenizerJson;
  change(json);
  return { name: `tokenizer: ${name}`, code, files: { 'tokenizer.json': json }, ...(message ? { message } : {}) };
}
function file(name: string, code: string, content: Content): BadFolder {
  return { name: `tokenizer: ${name}`, code, files: { 'tokenizer.json': content } };
}
function settings(name: string, code: string, members: object): BadFolder {
  return {
    name: `tokenizer_config: ${name}`,
    code,
    files: { 'tokenizer_config.json': changed('tiny-llama', 'tokenizer_config.json', members) },
  };
}
function pair(name: string, code: string, files: Record<string, Content>): BadFolder {
  return { name: `vocab.json and merges.txt: ${name}`, code, base: 'tiny-opt', files };
}
function template(name: string, text: string): BadFolder {
  const files = { 'tokenizer_config.json': changed('tiny-llama', 'tokenizer_config.json', { chat_template: text }) };
  return { name: `chat template: ${name}`, error: 'InvalidRequestError', code: 'chat_template_failed', files };
}

const split = (pattern: unknown, behavior = 'Isolated') => ({ type: 'Split', pattern, behavior, invert: false });
const nested = (field: string, depth: number): unknown =>
  depth === 0 ? { type: 'NFC' } : { type: 'Sequence', [field]: [nested(field, depth - 1)] };
const firstToken = (t: TokenizerJson) => Object.keys(t.model.vocab)[300]!;
const merges = readFileSync('models/tiny-opt/merges.txt', 'utf8');
const vocab = JSON.parse(readFileSync('models/tiny-opt/vocab.json', 'utf8')) as Record<string, number>;
const added = (id: unknown, content: unknown) => ({ id, content, special: true });

export const tokenizerCases: BadFolder[] = [
  file('absent', 'TOKENIZER_MISSING', null),
  file('empty', 'TOKENIZER_NOT_JSON', ''),
  file('not JSON', 'TOKENIZER_NOT_JSON', '<html></html>'),
  file('cut off', 'TOKENIZER_NOT_JSON', source.slice(0, 5000)),
  file('not UTF-8', 'TOKENIZER_NOT_UTF8', Buffer.from(`{"a":"${'\xff'}"}`, 'latin1')),
  file('an array', 'TOKENIZER_BAD_FIELD', []),
  file('a key twice', 'TOKENIZER_DUPLICATE_KEY', '{"model":{},"model":{}}'),
  file('a token twice', 'TOKENIZER_DUPLICATE_KEY', '{"model":{"type":"BPE","vocab":{"a":0,"a":1},"merges":[]}}'),
  file('100,000 levels deep', 'TOKENIZER_TOO_LARGE', `{"a":${'['.repeat(100_000)}`),
  file('of 200 MB', 'TOKENIZER_TOO_LARGE', path => {
    const half = ' '.repeat(100_000_000);
    writeFileSync(path, half);
    writeFileSync(path, half, { flag: 'a' });
  }),
  file('without a model', 'TOKENIZER_BAD_FIELD', { version: '1.0' }),
  {
    name: 'tokenizer: a SentencePiece model alone',
    code: 'TOKENIZER_SENTENCEPIECE',
    files: { 'tokenizer.json': null, 'tokenizer.model': 'x' },
  },

  ...['WordPiece', 'WordLevel', 'evil', ''].map(type =>
    tokenizer(`model type ${JSON.stringify(type)}`, 'TOKENIZER_UNSUPPORTED_MODEL', t =>
      Object.assign(t.model, { type }),
    ),
  ),
  ...[
    {},
    [],
    [['a', '1']],
    [['a']],
    [[1, 2]],
    [
      ['a', 0],
      ['a', -1],
    ],
  ].map(vocab =>
    tokenizer(`a Unigram vocabulary ${JSON.stringify(vocab)}`, 'TOKENIZER_BAD_FIELD', t =>
      Object.assign(t.model, { type: 'Unigram', vocab }),
    ),
  ),
  tokenizer('an unknown piece beyond the vocabulary', 'TOKENIZER_SPECIAL_TOKEN', t =>
    Object.assign(t.model, { type: 'Unigram', vocab: [['a', 0]], unk_id: 1 }),
  ),
  tokenizer('no vocabulary', 'TOKENIZER_BAD_FIELD', t => Object.assign(t.model, { vocab: undefined })),
  tokenizer('an empty vocabulary', 'TOKENIZER_BAD_FIELD', t => Object.assign(t.model, { vocab: {} })),
  tokenizer('a vocabulary that is an array', 'TOKENIZER_BAD_FIELD', t => Object.assign(t.model, { vocab: ['a', 'b'] })),
  ...[-1, 1.5, 2 ** 31, 2 ** 53, '5', null].map(id =>
    tokenizer(`a token id ${JSON.stringify(id)}`, 'TOKENIZER_BAD_ID', t =>
      Object.assign(t.model.vocab, { [firstToken(t)]: id }),
    ),
  ),
  tokenizer('two tokens with one id', 'TOKENIZER_DUPLICATE_ID', t => Object.assign(t.model.vocab, { another: 300 })),
  tokenizer('no merges', 'TOKENIZER_BAD_FIELD', t => Object.assign(t.model, { merges: undefined })),
  tokenizer('merges that are an object', 'TOKENIZER_BAD_FIELD', t => Object.assign(t.model, { merges: { a: 'b' } })),
  tokenizer('a merge of an unknown piece', 'TOKENIZER_BAD_MERGE', t => t.model.merges.push(['zzzz', 'a'])),
  tokenizer('a merge into an unknown piece', 'TOKENIZER_BAD_MERGE', t => t.model.merges.push(['Q', 'Q'])),
  tokenizer('a merge of three parts', 'TOKENIZER_BAD_MERGE', t => t.model.merges.push(['a', 'b', 'c'])),
  tokenizer('a merge of one part', 'TOKENIZER_BAD_MERGE', t => t.model.merges.push(['a'])),
  tokenizer('a merge that is a number', 'TOKENIZER_BAD_MERGE', t => t.model.merges.push(7)),
  tokenizer('merges in two forms', 'TOKENIZER_BAD_MERGE', t => t.model.merges.push('t h')),
  tokenizer('an unknown token that is not there', 'TOKENIZER_SPECIAL_TOKEN', t =>
    Object.assign(t.model, { unk_token: '<unk>' }),
  ),
  tokenizer('byte fallback without bytes', 'TOKENIZER_BYTE_ALPHABET', t =>
    Object.assign(t.model, { byte_fallback: true }),
  ),
  tokenizer('a byte missing from the alphabet', 'TOKENIZER_BYTE_ALPHABET', t => {
    delete t.model.vocab['~'];
    t.model.merges = [];
  }),

  tokenizer('an added token with the id of another', 'TOKENIZER_ADDED_TOKEN', t =>
    t.added_tokens.push(added(300, '<new>')),
  ),
  tokenizer('an added token with another id than in the vocabulary', 'TOKENIZER_ADDED_TOKEN', t =>
    t.added_tokens.push(added(5000, firstToken(t))),
  ),
  tokenizer('an added token twice', 'TOKENIZER_ADDED_TOKEN', t =>
    t.added_tokens.push(added(5000, '<new>'), added(5001, '<new>')),
  ),
  tokenizer('an empty added token', 'TOKENIZER_ADDED_TOKEN', t => t.added_tokens.push(added(5000, ''))),
  tokenizer('an added token of 10,000 characters', 'TOKENIZER_ADDED_TOKEN', t =>
    t.added_tokens.push(added(5000, 'x'.repeat(10_000))),
  ),
  tokenizer('an added token without an id', 'TOKENIZER_BAD_ID', t => t.added_tokens.push(added(undefined, '<new>'))),
  tokenizer('an added token with id 2^40', 'TOKENIZER_BAD_ID', t => t.added_tokens.push(added(2 ** 40, '<new>'))),
  tokenizer('an added token without content', 'TOKENIZER_BAD_FIELD', t => t.added_tokens.push(added(5000, undefined))),
  tokenizer('added_tokens an object', 'TOKENIZER_BAD_FIELD', t => Object.assign(t, { added_tokens: { a: 1 } })),

  ...['(a+)+$', '(a|a)*', '([a-z]+)*', '(\\s*\\p{L}+)*'].map(regex =>
    tokenizer(`the catastrophic pattern ${regex}`, 'TOKENIZER_REGEX', t =>
      Object.assign(t, { pre_tokenizer: split({ Regex: regex }) }),
    ),
  ),
  ...['(unclosed', '[z-a]', '\\p{NoSuchClass}', '(?<name'].map(regex =>
    tokenizer(
      `the pattern ${regex}`,
      'TOKENIZER_REGEX',
      t => Object.assign(t, { pre_tokenizer: split({ Regex: regex }) }),
      /refused/,
    ),
  ),
  tokenizer('a pattern of 100,000 characters', 'TOKENIZER_REGEX', t =>
    Object.assign(t, { pre_tokenizer: split({ Regex: 'a'.repeat(100_000) }) }),
  ),
  tokenizer('a pattern that is a number', 'TOKENIZER_BAD_FIELD', t => Object.assign(t, { pre_tokenizer: split(7) })),
  tokenizer('an unknown split behaviour', 'TOKENIZER_BAD_FIELD', t =>
    Object.assign(t, { pre_tokenizer: split({ String: ' ' }, 'Explode') }),
  ),
  tokenizer('an unknown pre-tokenizer', 'TOKENIZER_UNSUPPORTED_PRE_TOKENIZER', t =>
    Object.assign(t, { pre_tokenizer: { type: 'UnicodeScripts2' } }),
  ),
  tokenizer('a pre-tokenizer that is a string', 'TOKENIZER_BAD_FIELD', t =>
    Object.assign(t, { pre_tokenizer: 'ByteLevel' }),
  ),
  tokenizer('an unknown normalizer', 'TOKENIZER_UNSUPPORTED_NORMALIZER', t =>
    Object.assign(t, { normalizer: { type: 'Precompiled2' } }),
  ),
  tokenizer('normalizers thirty deep', 'TOKENIZER_TOO_DEEP', t =>
    Object.assign(t, { normalizer: nested('normalizers', 28) }),
  ),
  tokenizer('a thousand normalizers', 'TOKENIZER_TOO_DEEP', t =>
    Object.assign(t, { normalizer: { type: 'Sequence', normalizers: new Array(1000).fill({ type: 'NFC' }) } }),
  ),
  tokenizer('an unknown decoder', 'TOKENIZER_UNSUPPORTED_DECODER', t =>
    Object.assign(t, { decoder: { type: 'Rot13' } }),
  ),
  tokenizer('an unknown post-processor', 'TOKENIZER_UNSUPPORTED_POST_PROCESSOR', t =>
    Object.assign(t, { post_processor: { type: 'Evil' } }),
  ),
  tokenizer('a template with an unknown special token', 'TOKENIZER_POST_PROCESSOR', t =>
    Object.assign(t, {
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
        special_tokens: {},
      },
    }),
  ),
  tokenizer('a template with an id beyond the vocabulary', 'TOKENIZER_POST_PROCESSOR', t =>
    Object.assign(t, {
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
        special_tokens: { '<s>': { id: '<s>', ids: [9999], tokens: ['<s>'] } },
      },
    }),
  ),
  tokenizer('a template without the text', 'TOKENIZER_POST_PROCESSOR', t =>
    Object.assign(t, { post_processor: { type: 'TemplateProcessing', single: [], pair: [], special_tokens: {} } }),
  ),

  settings('a beginning that has no id', 'TOKENIZER_SPECIAL_TOKEN', { bos_token: '<nowhere>' }),
  settings('an end that is a number', 'TOKENIZER_BAD_FIELD', { eos_token: 2 }),
  settings('an added token that contradicts tokenizer.json', 'TOKENIZER_ADDED_TOKEN', {
    added_tokens_decoder: { 7: { content: '<|im_end|>' } },
  }),
  settings('an added token whose id is text', 'TOKENIZER_BAD_ID', {
    added_tokens_decoder: { seven: { content: '<x>' } },
  }),
  settings('added_tokens_decoder a list', 'TOKENIZER_BAD_FIELD', { added_tokens_decoder: [1] }),
  settings('a chat template that is a number', 'TOKENIZER_BAD_FIELD', { chat_template: 7 }),
  settings('named chat templates without a default', 'TOKENIZER_CHAT_TEMPLATE', {
    chat_template: [
      { name: 'a', template: 'x' },
      { name: 'b', template: 'y' },
    ],
  }),
  settings('named chat templates with a name twice', 'TOKENIZER_CHAT_TEMPLATE', {
    chat_template: [
      { name: 'default', template: 'x' },
      { name: 'default', template: 'y' },
    ],
  }),
  settings('named chat templates that are text', 'TOKENIZER_BAD_FIELD', { chat_template: ['x'] }),
  { name: 'tokenizer_config: not JSON', code: 'TOKENIZER_NOT_JSON', files: { 'tokenizer_config.json': '{' } },
  { name: 'tokenizer_config: an array', code: 'TOKENIZER_BAD_FIELD', files: { 'tokenizer_config.json': [] } },
  {
    name: 'special_tokens_map: not JSON',
    code: 'TOKENIZER_NOT_JSON',
    base: 'tiny-opt',
    files: { 'special_tokens_map.json': 'null,' },
  },

  pair('vocab.json alone', 'TOKENIZER_MISSING', { 'merges.txt': null }),
  pair('merges.txt alone', 'TOKENIZER_MISSING', { 'vocab.json': null }),
  pair('an empty vocabulary', 'TOKENIZER_BAD_FIELD', { 'vocab.json': {} }),
  pair('a vocabulary that is a list', 'TOKENIZER_BAD_FIELD', { 'vocab.json': ['a'] }),
  pair('a negative id', 'TOKENIZER_BAD_ID', { 'vocab.json': { ...vocab, a: -5 } }),
  pair('two tokens with one id', 'TOKENIZER_DUPLICATE_ID', { 'vocab.json': { ...vocab, another: 5 } }),
  pair('a merge of three pieces', 'TOKENIZER_BAD_MERGE', { 'merges.txt': `${merges}a b c\n` }),
  pair('a merge of one piece', 'TOKENIZER_BAD_MERGE', { 'merges.txt': `${merges}a\n` }),
  pair('a merge of an unknown piece', 'TOKENIZER_BAD_MERGE', { 'merges.txt': `${merges}qqq zzz\n` }),
  pair('merges that are not UTF-8', 'TOKENIZER_NOT_UTF8', { 'merges.txt': Buffer.from([0x61, 0x20, 0xff, 0x0a]) }),
  pair('an HTML page as merges', 'TOKENIZER_BAD_MERGE', { 'merges.txt': '<!DOCTYPE html><html>\n' }),
  pair('an unknown tokenizer class', 'TOKENIZER_UNSUPPORTED_MODEL', {
    'tokenizer_config.json': { tokenizer_class: 'EvilTokenizer' },
  }),
  pair('added tokens that contradict the vocabulary', 'TOKENIZER_ADDED_TOKEN', { 'added_tokens.json': { '<new>': 5 } }),
  pair('added tokens with a negative id', 'TOKENIZER_BAD_ID', { 'added_tokens.json': { '<new>': -1 } }),

  template('an unterminated block', '{% for m in messages %}'),
  template('an unknown statement', '{% evil %}'),
  template('include', "{% include 'other' %}"),
  template('import', "{% import 'os' as os %}"),
  template('extends', "{% extends 'base' %}"),
  template('a hundred million turns', '{% for i in range(100000000) %}{% endfor %}'),
  template(
    'three nested loops of a thousand',
    '{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor %}',
  ),
  template(
    'text that doubles',
    "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
  ),
  template('a macro that calls itself', '{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}'),
  template('an unknown filter', "{{ 'x' | no_such_filter }}"),
  template('an unknown test', "{{ 'x' is no_such_test }}"),
  template('100,000 parentheses', `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`),
  settings('a chat template of five megabytes', 'TOKENIZER_TOO_LARGE', { chat_template: 'y'.repeat(5_000_000) }),
  template('200,000 characters', 'y'.repeat(200_000)),
];
