import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AddedToken, AddedTokenMatcher } from '../../../packages/core/src/tokenizer/added-tokens.ts';
import {
  compilePattern,
  createPreTokenizer,
  fixedPatterns,
} from '../../../packages/core/src/tokenizer/pre-tokenizer.ts';
import { splitBehaviors, splitText } from '../../../packages/core/src/tokenizer/split.ts';
import { cpuClock } from './sources.ts';

const llama3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

describe('splitText', () => {
  // The examples of the Rust library's documentation: "the-final--countdown" split at "-".
  it.each([
    ['Removed', ['the', 'final', 'countdown']],
    ['Isolated', ['the', '-', 'final', '-', '-', 'countdown']],
    ['MergedWithPrevious', ['the-', 'final-', '-', 'countdown']],
    ['MergedWithNext', ['the', '-final', '-', '-countdown']],
    ['Contiguous', ['the', '-', 'final', '--', 'countdown']],
  ] as const)('%s', (behavior, parts) => {
    expect(splitText('the-final--countdown', /-/gu, behavior)).toEqual(parts);
  });

  it('swaps matches and gaps when inverted', () => {
    expect(splitText('a1b22', /\d/gu, 'Removed', true)).toEqual(['1', '2', '2']);
    expect(splitText('a1b22', /\d/gu, 'MergedWithNext', true)).toEqual(['a1', 'b2', '2']);
  });

  it('loses nothing unless it removes', () => {
    const text = fc.string({ unit: fc.constantFrom('a', '-', ' ', 'é') });
    fc.assert(
      fc.property(text, fc.constantFrom(...splitBehaviors), fc.boolean(), (value, behavior, invert) => {
        const parts = splitText(value, /[- ]/gu, behavior, invert);
        expect(parts).not.toContain('');
        if (behavior !== 'Removed') expect(parts.join('')).toBe(value);
      }),
    );
  });
});

describe('pre-tokenisers', () => {
  it('cuts words as GPT-2 does', () => {
    const { split } = createPreTokenizer([{ type: 'ByteLevel', addPrefixSpace: false, useRegex: true }]);
    expect(split("I'll  go 42x, you're…\n\n ok\u0085 ", true)).toEqual([
      'I',
      "'ll",
      ' ',
      ' go',
      ' 42',
      'x',
      ',',
      ' you',
      "'re",
      '…',
      '\n\n',
      ' ok',
      '\u0085 ',
    ]);
    expect(split('a \ufeffb', true)).toEqual(['a', ' \ufeff', 'b']);
  });

  it('cuts words as Llama 3 does', () => {
    const pattern = compilePattern({ Regex: llama3 });
    const { split } = createPreTokenizer([
      { type: 'Split', pattern, behavior: 'Isolated', invert: false },
      { type: 'ByteLevel', addPrefixSpace: false, useRegex: false },
    ]);
    expect(split("Don'T 12345, (hello)\r\n\n  x", true)).toEqual([
      'Don',
      "'T",
      ' ',
      '123',
      '45',
      ',',
      ' (',
      'hello',
      ')\r\n\n',
      ' ',
      ' x',
    ]);
  });

  it('spells bytes itself when ByteLevel is not the last', () => {
    const { split, byteLevel } = createPreTokenizer([
      { type: 'ByteLevel', addPrefixSpace: true, useRegex: true },
      { type: 'Split', pattern: fixedPatterns.numeric, behavior: 'Isolated', invert: false },
    ]);
    expect(byteLevel).toBe(false);
    expect(split('é 1', true)).toEqual(['ĠÃ©', 'Ġ', '1']);
  });

  it.each([
    ['always', true, ['▁a', '▁b']],
    ['first', true, ['▁a', '▁b']],
    ['first', false, ['a', '▁b']],
    ['never', true, ['a', '▁b']],
  ] as const)('Metaspace %s, first %s', (prependScheme, isFirst, words) => {
    const { split } = createPreTokenizer([{ type: 'Metaspace', replacement: '▁', prependScheme, split: true }]);
    expect(split('a b', isFirst)).toEqual(words);
  });

  it('keeps a Metaspace text whole without split', () => {
    const { split } = createPreTokenizer([
      { type: 'Metaspace', replacement: '▁', prependScheme: 'first', split: false },
    ]);
    expect(split('a  b', true)).toEqual(['▁a▁▁b']);
  });

  it('tells words, numbers and punctuation by Unicode', () => {
    expect(splitText('one_2 café—x!?', fixedPatterns.words, 'Removed', true)).toEqual([
      'one_2',
      'café',
      '—',
      'x',
      '!?',
    ]);
    expect(splitText('a٣²x', fixedPatterns.numeric, 'Isolated')).toEqual(['a', '٣', '²', 'x']);
    expect(splitText('a$«b', fixedPatterns.punctuation, 'Isolated')).toEqual(['a', '$', '«', 'b']);
  });

  it('cuts by length without cutting characters', () => {
    const { split } = createPreTokenizer([{ type: 'FixedLength', length: 2 }]);
    expect(split('a𝄞bc𝄞', true)).toEqual(['a𝄞', 'bc', '𝄞']);
  });

  it.each([
    ['GPT-2', fixedPatterns.gpt2],
    ['Llama 3', compilePattern({ Regex: llama3 })],
  ])('splits a megabyte of any kind in a moment with the pattern of %s', (_, pattern) => {
    for (const unit of ['a', ' ', '\n', ' \n', '7', '!', '漢', 'a ', "'", '\u0301', '👩‍👩‍👧']) {
      const text = unit.repeat(1_000_000 / unit.length);
      const elapsed = cpuClock();
      expect(splitText(text, pattern, 'Isolated').join('')).toBe(text);
      expect(elapsed()).toBeLessThan(3000);
    }
  });
});

describe('AddedTokenMatcher', () => {
  const plain = { special: true, normalized: false, lstrip: false, rstrip: false, singleWord: false };
  const token = (id: number, content: string, flags: Partial<AddedToken> = {}): AddedToken => ({
    id,
    content,
    ...plain,
    ...flags,
  });
  const split = (tokens: AddedToken[], text: string, untrusted: [number, number][] = []) =>
    new AddedTokenMatcher(tokens).split(text, untrusted).map(section => ('id' in section ? section.id : section.text));

  it('takes the leftmost, then the longest', () => {
    const tokens = [token(1, '<a>'), token(2, '<a><b>'), token(3, '>x')];
    expect(split(tokens, '<a><b><a>x')).toEqual([2, 1, 'x']);
    expect(split(tokens, '<<a>>x>')).toEqual(['<', 1, 3, '>']);
    expect(split(tokens, '')).toEqual([]);
  });

  it('takes white space with a token that strips', () => {
    expect(
      split([token(1, '<m>', { lstrip: true }), token(2, '<r>', { rstrip: true })], 'a \n<m> b<r>  <r> c'),
    ).toEqual(['a', 1, ' b', 2, 2, 'c']);
  });

  it('finds a single-word token between words only', () => {
    expect(split([token(1, 'end', { singleWord: true })], 'end bend endé end.')).toEqual([1, ' bend endé ', 1, '.']);
  });

  it('leaves special tokens alone that touch untrusted text', () => {
    const tokens = [token(1, '<s>'), token(2, '<'), token(3, 's>', { special: false })];
    expect(split(tokens, '<s><s><s>', [[3, 6]])).toEqual([1, '<', 3, 1]);
    expect(split(tokens, '<s>', [[2, 3]])).toEqual([2, 3]);
    expect(split(tokens, '<s>', [[0, 1]])).toEqual(['<', 3]);
    expect(split(tokens, '<s><s>', [[3, 3]])).toEqual([1, 1]);
  });
});
