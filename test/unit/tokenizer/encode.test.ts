import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { InvalidRequestError } from '../../../packages/core/src/errors.ts';
import type { Tokenizer } from '../../../packages/core/src/tokenizer/index.ts';
import { cpuClock, loadBundled, modelFiles } from './sources.ts';

const replaceLone = (text: string): string => text.replace(/\p{Surrogate}/gu, '\ufffd');

/** Texts with what the bundled checkpoints know, and with what no model knows. */
const words = fc.constantFrom(
  'Once',
  ' upon',
  ' a',
  ' time',
  ',',
  ' there',
  '\n',
  '  ',
  "'s",
  "'ll",
  ' 12',
  '7',
  '\t',
  ' Max',
  '.',
  '"',
  'é',
  '你好',
  '👩‍👩‍👧',
  '\0',
  ' The',
  'aaaa',
  ' dog',
);
const someText = fc.oneof(
  fc.array(words, { maxLength: 60 }).map(parts => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 120 }),
  fc.string({ unit: 'grapheme', maxLength: 60 }),
);

/** The plain library on the files of tiny-llama. */
function createLibraryTokenizer(): { encode(text: string): { ids: number[] } } {
  const files = modelFiles('tiny-llama');
  const parse = (name: string): object => JSON.parse(new TextDecoder().decode(files[name]));
  const Constructor = LibraryTokenizer as unknown as new (
    a: object,
    b: object,
  ) => { encode(text: string): { ids: number[] } };
  return new Constructor(parse('tokenizer.json'), parse('tokenizer_config.json'));
}

describe.each(['tiny-llama', 'tiny-opt'] as const)('encoding with %s', name => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadBundled(name);
  });

  it('gives the ids of the Hugging Face library', () => {
    const library = createLibraryTokenizer();
    // The library's \s has U+FEFF and lacks U+0085, unlike Unicode's White_Space, which the Rust library follows.
    const plain = someText.filter(text => text !== '' && !/[\ufeff\x85]/.test(text) && !/\p{Surrogate}/u.test(text));
    fc.assert(
      fc.property(plain, text => {
        expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(library.encode(text).ids);
      }),
      { numRuns: 600 },
    );
  });

  it('gives back every text; half a surrogate pair becomes U+FFFD', () => {
    const anyText = fc.oneof(someText, fc.string({ unit: fc.nat(0xffff).map(code => String.fromCharCode(code)) }));
    fc.assert(
      fc.property(anyText, text => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecialTokens: false });
        expect(tokenizer.decode(ids)).toBe(replaceLone(text));
      }),
      { numRuns: 600 },
    );
  });

  it.each([
    '',
    '\0',
    '\ufeff',
    'e\u0301',
    '👩‍👩‍👧‍👦🏳️‍🌈',
    '\ud800',
    'a\udc00b',
    '\ud83d\ude80'.slice(0, 1),
    '\r\n',
    '𠀀𪜀',
    '\u0085 \u2028',
  ])('gives back %j', text => {
    expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(replaceLone(text));
  });

  it('finds special tokens in raw text only when asked to', () => {
    const spellings = fc.constantFrom('<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|im_', 'end|>', '<|', '|>');
    const mixed = fc.array(fc.oneof(spellings, words), { maxLength: 30 }).map(parts => parts.join(''));
    fc.assert(
      fc.property(mixed, text => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecialTokens: false });
        expect(ids.filter(id => tokenizer.specialTokenIds.has(id))).toEqual([]);
        expect(tokenizer.decode(ids)).toBe(text);
        const parsed = tokenizer.encode(text, { addSpecialTokens: false });
        const count = text.match(/<\|(endoftext|im_start|im_end)\|>/g)?.length ?? 0;
        expect(parsed.filter(id => tokenizer.specialTokenIds.has(id))).toHaveLength(count);
      }),
      { numRuns: 500 },
    );
  });

  it('counts as many tokens as fit and refuses one more', () => {
    const text = 'One day, the dog'.repeat(20);
    const ids = tokenizer.encode(text);
    expect(tokenizer.encode(text, { maxTokens: ids.length })).toEqual(ids);
    expect(() => tokenizer.encode(text, { maxTokens: ids.length - 1 })).toThrow(InvalidRequestError);
    expect(() => tokenizer.encode('', { maxTokens: -1 })).toThrow(InvalidRequestError);
  });

  it('refuses a text that cannot fit before it reads it', () => {
    const text = 'word '.repeat(20_000_000);
    const elapsed = cpuClock();
    expect(() => tokenizer.encode(text, { maxTokens: 512 })).toThrow(/more than 512 tokens/);
    expect(elapsed()).toBeLessThan(50);
  });
});

describe('long input', () => {
  const megabyte = 1_000_000;
  const repeat = (unit: string): string => unit.repeat(Math.ceil(megabyte / new TextEncoder().encode(unit).length));
  const pseudoRandom = (alphabet: string): string => {
    let state = 1;
    return Array.from({ length: megabyte }, () => {
      state = (state * 48271) % 2147483647;
      return alphabet[state % alphabet.length];
    }).join('');
  };

  it.each([
    ['one letter', repeat('a')],
    ['letters that merge', repeat('theandam')],
    ['random letters', pseudoRandom('etaoinshrdlu')],
    ['spaces', repeat(' ')],
    ['newlines', repeat('\n')],
    ['digits', repeat('7')],
    ['Chinese', repeat('你好世界')],
    ['Thai', repeat('สวัสดี')],
    ['emoji', repeat('👩‍👩‍👧')],
    ['punctuation', repeat('!')],
    ['beginnings of special tokens', repeat('<|im_')],
    ['English', repeat('Once upon a time, there was a hungry dog named Max. ')],
  ])('takes about a second for a megabyte of %s', async (_, text) => {
    const tokenizer = await loadBundled('tiny-llama');
    const elapsed = cpuClock();
    const ids = tokenizer.encode(text);
    const took = elapsed();
    expect(tokenizer.decode(ids)).toBe(text);
    // On a busy machine with two cores; quadratic merging takes minutes.
    expect(took).toBeLessThan(3000);
  });
});
