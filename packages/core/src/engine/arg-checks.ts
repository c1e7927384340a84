import { ConfigError } from '../errors.ts';
import { show } from '../names.ts';

/** Checks one value that a caller gave, and returns it as the engine uses it. Throws ConfigError that names the option. */
export type Check<T> = (value: unknown, option: string) => T;

export function refuse(option: string, expected: string, value: unknown): never {
  throw new ConfigError(`${option} must be ${expected}, got ${show(value)}.`, option);
}

export function text(value: unknown, option: string): string {
  return typeof value === 'string' && value !== '' ? value : refuse(option, 'a non-empty string', value);
}

export function boolean(value: unknown, option: string): boolean {
  return typeof value === 'boolean' ? value : refuse(option, 'true or false', value);
}

/** Above 0, at most 1. */
export function share(value: unknown, option: string): number {
  return typeof value === 'number' && value > 0 && value <= 1 ? value : refuse(option, 'a number in (0, 1]', value);
}

export function notNegative(value: unknown, option: string): number {
  return typeof value === 'number' && value >= 0 && Number.isFinite(value)
    ? value
    : refuse(option, 'a number of at least 0', value);
}

/** At least 0, below 1. */
export function fraction(value: unknown, option: string): number {
  return typeof value === 'number' && value >= 0 && value < 1 ? value : refuse(option, 'a number in [0, 1)', value);
}

export function integer(min: number, max: number): Check<number> {
  return (value, option) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? (value as number)
      : refuse(option, `an integer in [${min}, ${max}]`, value);
}

const UNITS: Readonly<Record<string, number>> = {
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

/** An integer, or one written as vLLM's human-readable ones: "32k" is 32,000, "32K" is 32,768, "1.5G" is 1.5 * 2^30. */
export function quantity(min: number, max: number): Check<number> {
  return (value, option) => {
    const number = typeof value === 'string' ? parseQuantity(value) : value;
    return Number.isInteger(number) && (number as number) >= min && (number as number) <= max
      ? (number as number)
      : refuse(option, `an integer in [${min}, ${max}], such as 4096, "4k" or "4K"`, value);
  };
}

function parseQuantity(written: string): number {
  const match = /^(\d+(?:\.\d+)?)([kKmMgGtT]?)$/.exec(written.trim());
  if (match === null) return Number.NaN;
  return Math.round(Number(match[1]) * (UNITS[match[2]!] ?? 1) * 1e6) / 1e6;
}

/** A 64-bit integer; a negative one counts from the end, as two's complement does. */
export function seed(value: unknown, option: string): bigint {
  const whole = typeof value === 'bigint' || Number.isSafeInteger(value);
  return whole ? BigInt.asUintN(64, BigInt(value as number | bigint)) : refuse(option, 'a 64-bit integer', value);
}

export function orNull<T>(check: Check<T>): Check<T | null> {
  return (value, option) => (value === null ? null : check(value, option));
}

export function oneOf<const T extends Readonly<Record<string, string>>>(names: T): Check<T[keyof T]> {
  return (value, option) =>
    typeof value === 'string' && Object.hasOwn(names, value)
      ? names[value as keyof T]
      : refuse(option, `one of ${Object.keys(names).join(', ')}`, value);
}

/** A value that means "decide here", or what the check takes. */
export function automatic<T>(words: readonly unknown[], check: Check<T>): Check<T | null> {
  return (value, option) => (value === null || words.includes(value) ? null : check(value, option));
}

/** The values that there are, and why there is no other. */
export function among<const T>(allowed: readonly T[], reason: string): Check<T> {
  return (value, option) => {
    if (allowed.includes(value as T)) return value as T;
    throw new ConfigError(`${option} cannot be ${show(value)}: ${reason}.`, option);
  };
}

/** The same, of values that all mean one thing. */
export function only<T>(allowed: readonly unknown[], meaning: T, reason: string): Check<T> {
  const check = among(allowed, reason);
  return (value, option) => {
    check(value, option);
    return meaning;
  };
}

export function names(value: unknown, option: string): readonly string[] {
  const list = Array.isArray(value) ? value : [value];
  if (list.length > 0 && list.every(name => typeof name === 'string' && name !== '')) return list as string[];
  return refuse(option, 'a name or a list of names', value);
}
