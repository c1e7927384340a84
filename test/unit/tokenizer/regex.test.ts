import { describe, expect, it } from 'vitest';
import { hasAmbiguousRepeat } from '../../../packages/core/src/tokenizer/check-regex.ts';
import { compilePattern } from '../../../packages/core/src/tokenizer/pre-tokenizer.ts';
import { splitText } from '../../../packages/core/src/tokenizer/split.ts';
import { cpuClock } from './sources.ts';

/** The patterns of published tokenizers. */
const published: readonly (readonly [name: string, pattern: string])[] = [
  [
    'Llama 3, Qwen 2',
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  ],
  [
    'Phi 4',
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
  ],
  [
    'GPT-OSS',
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  ],
  [
    'Mistral Nemo, Nemotron',
    '[^\\r\\n\\p{L}\\p{N}]?((?=[\\p{L}])([^a-z]))*((?=[\\p{L}])([^A-Z]))+|[^\\r\\n\\p{L}\\p{N}]?((?=[\\p{L}])([^a-z]))+((?=[\\p{L}])([^A-Z]))*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  ],
  [
    'DeepSeek V3',
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  ],
  ['DeepSeek V3, Chinese and Japanese', '[一-龥\u3040-ゟ゠-ヿ]+'],
  ['Bloom', ' ?[^(\\s|[.,!?…。，、।۔،])]+'],
  ['Falcon', '[0-9][0-9][0-9]'],
  ['with an intersection of classes', '[\\p{L}&&[^\\p{Han}]]+|\\p{Han}+'],
];

describe('patterns of tokenizer.json', () => {
  it.each(published)('are accepted, and split a megabyte in time: %s', (_, source) => {
    const pattern = compilePattern({ Regex: source });
    expect(hasAmbiguousRepeat(pattern.source)).toBe(false);
    for (const unit of ['a', 'A', ' ', '\n', '7', '!', '漢', "a'", ' a', 'aA', '\u0301']) {
      const text = unit.repeat(500_000);
      const elapsed = cpuClock();
      expect(splitText(text, pattern, 'Isolated').join('')).toBe(text);
      expect(elapsed()).toBeLessThan(3000);
    }
  });

  it.each([
    '(a+)+',
    '(a*)*b',
    '(?:a|b)+',
    '((a+)b?)*',
    '(a{2,})+',
    '(?:(?:a)+)*',
    '((?:x|y)z)+',
    '(a?b+){40}',
    '(a+){2,}',
    '(\\d+)*',
    '([a-z]+)+',
    '(?<n>a+)*',
  ])('are ambiguous: %s', source => expect(hasAmbiguousRepeat(source)).toBe(true));

  it.each([
    'a+b+',
    '(a+)b',
    '(?:ab)+',
    '(a+)?',
    '(?:a|b)',
    '(?:(?=a|b)[ab])+',
    '[(a+)+]+',
    '\\(a+\\)+',
    '(?:a{3})+',
    '(a+){3}',
    '(?<!a+)+b',
    '(?:a|b){3}',
  ])('are not: %s', source => expect(hasAmbiguousRepeat(source)).toBe(false));
});
