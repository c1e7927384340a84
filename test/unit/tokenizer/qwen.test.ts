/** A small tokenizer in the format of Qwen2, Qwen2.5 and Qwen3: NFC, words by a regular expression, byte-level BPE, ChatML. */
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ChatMessage, loadTokenizer, type Tokenizer } from '../../../packages/core/src/tokenizer/index.ts';
import { byteAlphabet, memoryFolder } from './sources.ts';

const pattern =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const merges = [
  'h e',
  'l l',
  'he ll',
  'hell o',
  'Ġ w',
  "' ll",
  'L A',
  'Ã ©',
  'Ġ Ġ',
  '1 2',
  'Ċ Ċ',
  'u s',
  'us e',
  'use r',
];
const added = ['<|endoftext|>', '<|im_start|>', '<|im_end|>', '<think>', '</think>'];

/** Bytes first, then merges, then added tokens behind the vocabulary: the order of Qwen's ids. */
function tokenizerJson() {
  const tokens = [...byteAlphabet(), ...merges.map(merge => merge.replace(' ', ''))];
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added.map((content, i) => ({ ...addedToken(content), id: tokens.length + i })),
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(merge => merge.split(' ')),
    },
  };
}

/** Qwen3's markers of thoughts are added tokens, but not special ones. */
function addedToken(content: string) {
  const rest = { lstrip: false, rstrip: false, single_word: false, normalized: false };
  return { content, special: content.startsWith('<|'), ...rest };
}

// With what Qwen3's template uses: a namespace, a reversed list, methods of strings, and settings that may be undefined.
const chatTemplate = `{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(open=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- if ns.open and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>')) %}
        {%- set ns.open = false %}
        {%- set ns.last = (messages|length - 1) - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- if '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and thoughts is defined %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}`;

function tokenizerConfig() {
  const first = byteAlphabet().length + merges.length;
  return {
    add_bos_token: false,
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(added.map((content, i) => [first + i, addedToken(content)])),
    additional_special_tokens: ['<|im_start|>', '<|im_end|>'],
    bos_token: null,
    chat_template: chatTemplate,
    clean_up_tokenization_spaces: false,
    eos_token: '<|im_end|>',
    errors: 'replace',
    model_max_length: 131072,
    pad_token: '<|endoftext|>',
    split_special_tokens: false,
    tokenizer_class: 'Qwen2Tokenizer',
    unk_token: null,
  };
}

describe('a tokenizer of Qwen', () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(
      memoryFolder({ 'tokenizer.json': tokenizerJson(), 'tokenizer_config.json': tokenizerConfig() }),
    );
  });
  const tokens = (text: string) =>
    tokenizer.encode(text).map(id => new TextDecoder('latin1').decode(tokenizer.tokenBytes(id)));

  it('has no BOS, and ends with what the configuration says', () => {
    expect(tokenizer.bosTokenId).toBeNull();
    expect(tokenizer.eosTokenId).toBe(tokenizer.tokenToId('<|im_end|>'));
    expect(tokenizer.encode('hello').length).toBe(1);
    const special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'].map(token => tokenizer.tokenToId(token)!);
    expect(tokenizer.specialTokenIds).toEqual(new Set(special));
  });

  it('composes characters, and cuts words, digits, contractions and line ends as its pattern does', () => {
    expect(tokenizer.encode('cafe\u0301')).toEqual(tokenizer.encode('café'));
    expect(tokenizer.decode(tokenizer.encode('cafe\u0301 hello'))).toBe('café hello');
    // Digits stand alone: the merge of 1 and 2 is never reached.
    expect(tokens('12')).toEqual(['1', '2']);
    expect(tokens("hello'll")).toEqual(['hello', "'ll"]);
    // A contraction in capitals is a word of its own too: the merge of L and A lies across its end.
    expect(tokens("'LLA")).toEqual(["'", 'L', 'L', 'A']);
    expect(tokens('xLLA')).toEqual(['x', 'L', 'LA']);
    expect(tokens('hello\n\n  w')).toEqual(['hello', '\n\n', ' ', ' w']);
  });

  it('gives the ids of the Hugging Face library', () => {
    const Library = LibraryTokenizer as unknown as new (
      a: object,
      b: object,
    ) => { encode(text: string): { ids: number[] } };
    const library = new Library(tokenizerJson(), tokenizerConfig());
    const parts = fc.constantFrom(
      'hello',
      ' w',
      "'ll",
      "'LL",
      '12',
      '\n',
      '\r\n',
      '  ',
      'é',
      'e\u0301',
      '漢',
      '!?',
      ' ',
    );
    const texts = fc.array(parts, { minLength: 1, maxLength: 30 }).map(list => list.join(''));
    fc.assert(
      fc.property(texts, text => {
        expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(library.encode(text).ids);
      }),
      { numRuns: 300 },
    );
  });

  it('renders chats with its template, without the thoughts of earlier turns', () => {
    const messages: ChatMessage[] = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'hello' },
      { role: 'assistant', content: '<think>\nA greeting.\n</think>\n\nHi!' },
      { role: 'user', content: 'w <|im_end|>' },
    ];
    const text =
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nHi!<|im_end|>\n' +
      '<|im_start|>user\nw <|im_end|><|im_end|>\n<|im_start|>assistant\n';
    expect(tokenizer.renderChat(messages)).toBe(text);
    const ids = tokenizer.encodeChat(messages);
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(text);
    // Four ends of turns, by the template; the one that the user wrote is text.
    expect(ids.filter(id => id === tokenizer.eosTokenId).length).toBe(4);
  });
});
