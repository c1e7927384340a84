import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopStringMatcher } from '../../../packages/core/src/tokenizer/index.ts';

/** By definition: of all occurrences, the one that ends first; of those that end together, the first in the list. */
function expected(text: string, stops: readonly string[], include: boolean): { text: string; stop: string | null } {
  for (let end = 1; end <= text.length; end++) {
    const stop = stops.find(candidate => text.slice(0, end).endsWith(candidate));
    if (stop !== undefined) return { text: text.slice(0, include ? end : end - stop.length), stop };
  }
  return { text, stop: null };
}

function run(
  pieces: readonly string[],
  stops: readonly string[],
  include: boolean,
): { text: string; stop: string | null } {
  const matcher = new StopStringMatcher(stops, { includeStop: include });
  let text = '';
  for (const piece of pieces) {
    const { emit, stopped } = matcher.push(piece);
    text += emit;
    if (stopped !== null) return { text, stop: stopped.stop };
  }
  return { text: text + matcher.flush(), stop: null };
}

type Result = ReturnType<typeof run>;

/** `expect` is too slow to be called a million times. */
function check(got: Result, want: Result, input: object): void {
  if (got.text !== want.text || got.stop !== want.stop) expect({ input, ...got }).toEqual({ input, ...want });
}

/** All ways to cut a text into pieces, as bit masks of its inner borders. */
function pieces(text: string, mask: number): string[] {
  const parts: string[] = [];
  let start = 0;
  for (let i = 1; i <= text.length; i++) {
    if (i < text.length && (mask & (1 << (i - 1))) === 0) continue;
    parts.push(text.slice(start, i));
    start = i;
  }
  return parts;
}

function allStrings(alphabet: string, maxLength: number): string[] {
  const strings: string[] = [];
  let longest = [''];
  for (let length = 1; length <= maxLength; length++) {
    longest = longest.flatMap(prefix => [...alphabet].map(char => prefix + char));
    strings.push(...longest);
  }
  return strings;
}

describe('StopStringMatcher', () => {
  it('finds every stop string of up to five letters over three, for all cuts of texts that come near it', () => {
    for (const stop of allStrings('abc', 5)) {
      // Texts that begin it, almost spell it, spell it twice, and overlap with it.
      const texts = [stop, stop.slice(0, -1), stop.slice(1) + stop, stop.slice(0, -1) + stop, `a${stop}b`];
      for (const text of texts) {
        const want = expected(text, [stop], false);
        const wantIncluded = expected(text, [stop], true);
        for (let mask = 0; mask < 1 << Math.max(0, text.length - 1); mask++) {
          const cut = pieces(text, mask);
          check(run(cut, [stop], false), want, { stop, cut });
          check(run(cut, [stop], true), wantIncluded, { stop, cut });
        }
      }
    }
  });

  it('agrees with the definition for all texts of seven letters over two, all cuts, several stop strings', () => {
    const lists = [
      ['ab', 'b'],
      ['b', 'ab'],
      ['aab', 'ab', 'ba'],
      ['abab', 'bb'],
      ['aaa', 'aab'],
      ['bab', 'abba', 'aaaa'],
      ['a'],
      [],
    ];
    for (const stops of lists) {
      for (const text of allStrings('ab', 7)) {
        const want = expected(text, stops, false);
        for (let mask = 0; mask < 1 << (text.length - 1); mask++) {
          const cut = pieces(text, mask);
          check(run(cut, stops, false), want, { stops, cut });
        }
      }
    }
  });

  it('never splits a character, holds back as little as it may, and releases the rest', () => {
    const unit = fc.constantFrom('a', 'é', '😀', '😁', '\n');
    const text = fc.string({ unit, maxLength: 30 });
    const stop = fc.string({ unit, minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 8 }),
        fc.array(stop, { maxLength: 3 }),
        fc.boolean(),
        (parts, stops, include) => {
          const matcher = new StopStringMatcher(stops, { includeStop: include });
          const most = Math.max(0, ...stops.map(s => s.length - 1));
          let given = '';
          let emitted = '';
          for (const part of parts) {
            given += part;
            const { emit, stopped } = matcher.push(part);
            emitted += emit;
            expect(emit).not.toMatch(/\p{Surrogate}/u);
            if (stopped !== null) return;
            expect(given.length - emitted.length).toBeLessThanOrEqual(most);
          }
          expect(emitted + matcher.flush()).toBe(given);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('does not cut a pair when a stop string begins with half of one', () => {
    const matcher = new StopStringMatcher(['\ude00x']);
    expect(matcher.push('a😀')).toEqual({ emit: 'a', stopped: null });
    expect(matcher.push('y')).toEqual({ emit: '😀y', stopped: null });
  });

  it('emits nothing after a stop', () => {
    const matcher = new StopStringMatcher(['\n\n', 'END']);
    expect(matcher.push('one EN')).toEqual({ emit: 'one ', stopped: null });
    expect(matcher.push('D two\n\n')).toEqual({ emit: '', stopped: { stop: 'END' } });
    expect(matcher.push('more')).toEqual({ emit: '', stopped: { stop: 'END' } });
    expect(matcher.flush()).toBe('');
  });

  it('passes text through at once when there is nothing to find', () => {
    expect(new StopStringMatcher([]).push('abc')).toEqual({ emit: 'abc', stopped: null });
  });
});
