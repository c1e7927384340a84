import { charsOf } from './char-set.ts';
import { charClass, choiceOf, literal } from './ebnf.ts';

/** Digits before the point, so that every number is exact and finite as an f64; and after it. */
const MAX_INTEGER_DIGITS = 15;
const MAX_FRACTION_DIGITS = 17;

const digit = '[0-9]';
const wholeNumber = `("0" | [1-9] [0-9]{0,${MAX_INTEGER_DIGITS - 1}})`;
const fraction = `"." [0-9]{1,${MAX_FRACTION_DIGITS}}`;
const exponent = `[eE] [${'\\u002b'}${'\\u002d'}]? [0-9]{1,2}`;

export const anyInteger = `"-"? ${wholeNumber}`;
export const plainNumber = `"-"? ${wholeNumber} (${fraction})?`;
export const anyNumber = `${plainNumber} (${exponent})?`;

/** Bounds of a number, null where there is none. */
export interface NumberRange {
  readonly min: number | null;
  readonly max: number | null;
  readonly minIsExcluded: boolean;
  readonly maxIsExcluded: boolean;
}

/** Integers within [min, max], both integers or null; null when there is none. */
export function integersBetween(min: number | null, max: number | null): string | null {
  const options: string[] = [];
  if (min === null || min < 0) {
    const magnitudes = between(Math.max(1, max === null ? 1 : -max), min === null ? null : -min);
    if (magnitudes !== null) options.push(`"-" ${magnitudes}`);
  }
  const natural = between(Math.max(0, min ?? 0), max);
  if (natural !== null) options.push(natural);
  return options.length === 0 ? null : choiceOf(options);
}

/** Numbers within a range whose bounds are integers, without exponents; null when there is none. */
export function numbersBetween({ min, max, minIsExcluded, maxIsExcluded }: NumberRange): string | null {
  const options: (string | null)[] = [
    // The mirror image of the part below zero, without zero itself.
    min === null || min < 0
      ? prefixed(
          '"-" ',
          magnitudesBetween({
            min: max === null || max >= 0 ? 0 : -max,
            max: min === null ? null : -min,
            minIsExcluded: max === null || max >= 0 || maxIsExcluded,
            maxIsExcluded: minIsExcluded,
          }),
        )
      : null,
    max === null || max >= 0
      ? magnitudesBetween({
          min: Math.max(0, min ?? 0),
          max,
          minIsExcluded: minIsExcluded && min !== null && min >= 0,
          maxIsExcluded,
        })
      : null,
  ];
  const found = options.filter(option => option !== null);
  return found.length === 0 ? null : choiceOf(found);
}

function prefixed(prefix: string, text: string | null): string | null {
  return text === null ? null : prefix + text;
}

/** Non-negative numbers: an integer part of the range with any fraction, and its upper bound by itself. */
function magnitudesBetween(range: {
  min: number;
  max: number | null;
  minIsExcluded: boolean;
  maxIsExcluded: boolean;
}): string | null {
  const { min, max, minIsExcluded, maxIsExcluded } = range;
  const options: string[] = [];
  const below = max === null ? null : max - 1;
  const first = minIsExcluded ? min + 1 : min;
  const inner = between(first, below);
  if (inner !== null) options.push(`${inner} (${fraction})?`);
  const reachesMin = minIsExcluded && (below === null || min <= below);
  if (reachesMin) options.push(`${literal(String(min))} "." [0-9]{0,8} [1-9] [0-9]{0,8}`);
  const includesMax = max !== null && !maxIsExcluded && (max > min || !minIsExcluded) && max >= min;
  if (includesMax) options.push(`${literal(String(max))} ("." "0"{1,8})?`);
  return options.length === 0 ? null : choiceOf(options);
}

/** Natural numbers within [min, max] without leading zeros; max null: up to the longest. null when there is none. */
function between(min: number, max: number | null): string | null {
  if (max === null) return min === 0 ? wholeNumber : atLeast(min);
  if (max < min) return null;
  const options: string[] = [];
  for (let low = min; low <= max; ) {
    const high = Math.min(max, 10 ** String(low).length - 1);
    options.push(...sameLength(String(low), String(high)));
    low = high + 1;
  }
  return choiceOf(options);
}

function atLeast(min: number): string {
  const { length } = String(min);
  const options = sameLength(String(min), '9'.repeat(length));
  if (length < MAX_INTEGER_DIGITS) options.push(`[1-9] ${digit}{${length},${MAX_INTEGER_DIGITS - 1}}`);
  return choiceOf(options);
}

/** Numbers from low to high, which have the same number of digits. */
function sameLength(low: string, high: string): string[] {
  if (low === high) return [literal(low)];
  const rest = low.length - 1;
  const [a, b] = [Number(low[0]), Number(high[0])];
  if (rest === 0) return [digits(a, b)];
  if (a === b) return [`${literal(low[0]!)} ${choiceOf(sameLength(low.slice(1), high.slice(1)))}`];
  const options: string[] = [];
  const fromLow = low.slice(1) === '0'.repeat(rest) ? a : a + 1;
  const toHigh = high.slice(1) === '9'.repeat(rest) ? b : b - 1;
  if (fromLow > a) options.push(`${literal(low[0]!)} ${choiceOf(sameLength(low.slice(1), '9'.repeat(rest)))}`);
  if (fromLow <= toHigh) options.push(`${digits(fromLow, toHigh)} ${digit}{${rest},${rest}}`);
  if (toHigh < b) options.push(`${literal(high[0]!)} ${choiceOf(sameLength('0'.repeat(rest), high.slice(1)))}`);
  return options;
}

function digits(first: number, last: number): string {
  return charClass(charsOf('0123456789'.slice(first, last + 1)));
}
