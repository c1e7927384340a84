import { ModelFormatError } from '../errors.ts';
import { JsonFloat, type JsonValue, showJson } from '../weights/json-tree.ts';

/** The typed view of one object of a configuration file. A value of another type or out of range is a ModelFormatError CF_FIELD. */
export class ConfigFields {
  readonly #file: string;
  readonly #path: string;
  readonly #members: ReadonlyMap<string, JsonValue>;
  readonly #read = new Set<string>();

  /** `path` names the object in the file, with a dot behind it, or is empty for the root. */
  constructor(file: string, members: ReadonlyMap<string, JsonValue>, path = '') {
    this.#file = file;
    this.#members = members;
    this.#path = path;
  }

  get(name: string): JsonValue | undefined {
    this.#read.add(name);
    return this.#members.get(name);
  }

  names(): string[] {
    return [...this.#members.keys()];
  }

  /** Whether anything has asked for the field. */
  wasRead(name: string): boolean {
    return this.#read.has(name);
  }

  /** Present and not null. */
  has(name: string): boolean {
    return (this.get(name) ?? null) !== null;
  }

  /** An integer in [least, most]; `fallback` where the field is absent or null (none: the field is required). */
  integer(name: string, least: number, most: number, fallback?: number): number {
    const value = this.#valueOr(name, fallback);
    if (typeof value === 'number' && value >= least && value <= most) return value;
    throw this.bad(name, `an integer from ${least} to ${most}`);
  }

  integerOrNull(name: string, least: number, most: number): number | null {
    return this.has(name) ? this.integer(name, least, most) : null;
  }

  /** A finite number that `accepts`; `expected` describes those. */
  float(name: string, accepts: (value: number) => boolean, expected: string, fallback?: number): number {
    const value = toNumber(this.#valueOr(name, fallback));
    if (value !== null && Number.isFinite(value) && accepts(value)) return value;
    throw this.bad(name, expected);
  }

  floatOrNull(name: string, accepts: (value: number) => boolean, expected: string): number | null {
    return this.has(name) ? this.float(name, accepts, expected) : null;
  }

  /** A list of `length` numbers that `accepts`; `expected` describes those. */
  floats(name: string, length: number, accepts: (value: number) => boolean, expected: string): number[] {
    const value = this.get(name);
    const numbers = Array.isArray(value) ? value.map(toNumber) : [];
    const good = (number: number | null): number is number => number !== null && accepts(number);
    if (numbers.length === length && numbers.every(good)) return numbers;
    const found = Array.isArray(value)
      ? `a list of ${value.length}: ${showJson(value.find(v => !good(toNumber(v))))}`
      : undefined;
    throw this.bad(name, `a list of ${length} numbers, each ${expected}`, 'CF_FIELD', found);
  }

  /** The values that `choices` gives to the strings of a list of `length`; null where the field is absent or null. */
  choices<T>(name: string, length: number, choices: Readonly<Record<string, T>>): T[] | null {
    if (!this.has(name)) return null;
    const value = this.get(name);
    const known = (item: JsonValue) => typeof item === 'string' && Object.hasOwn(choices, item);
    if (Array.isArray(value) && value.length === length && value.every(known))
      return value.map(item => choices[item as string]!);
    const found = Array.isArray(value)
      ? showJson(value.find(item => !known(item)) ?? `${value.length} entries`)
      : showJson(value);
    const expected = `a list of ${length}, each one of ${Object.keys(choices).join(', ')}`;
    throw this.bad(name, expected, 'CF_FIELD', found);
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.#valueOr(name, fallback);
    if (typeof value === 'boolean') return value;
    throw this.bad(name, 'true or false');
  }

  /** The value that `choices` gives to the field's string. */
  choice<T>(name: string, choices: Readonly<Record<string, T>>, fallback: string | undefined, code = 'CF_FIELD'): T {
    const value = this.#valueOr(name, fallback);
    if (typeof value === 'string' && Object.hasOwn(choices, value)) return choices[value]!;
    throw this.bad(name, `one of ${Object.keys(choices).join(', ')}`, code);
  }

  /** A nested object, or null where the field is absent or null. */
  object(name: string): ConfigFields | null {
    if (!this.has(name)) return null;
    const value = this.get(name);
    if (value instanceof Map) return new ConfigFields(this.#file, value, `${this.#path}${name}.`);
    throw this.bad(name, 'an object or null');
  }

  /** One id or a list of ids below `limit`; null where the field is absent or null. */
  tokenIds(name: string, limit: number): number[] | null {
    if (!this.has(name)) return null;
    const value = this.get(name)!;
    const ids = Array.isArray(value) ? value : [value];
    const ok = ids.length > 0 && ids.every(id => typeof id === 'number' && id >= 0 && id < limit);
    if (ok) return ids as number[];
    const found =
      Array.isArray(value) && value.length > 0 ? `[${value.slice(0, 8).map(showJson).join(', ')}]` : showJson(value);
    throw this.bad(name, `a token id from 0 to ${limit - 1}, or a list of some`, 'CF_FIELD', found);
  }

  bad(name: string, expected: string, code = 'CF_FIELD', found = showJson(this.get(name))): ModelFormatError {
    const missing = this.get(name) === undefined;
    return new ModelFormatError(code, missing ? 'the field is missing' : 'this value is not supported', {
      file: this.#file,
      field: this.#path + name,
      ...(missing ? {} : { found }),
      expected,
    });
  }

  #valueOr(name: string, fallback: JsonValue | undefined): JsonValue | undefined {
    return this.has(name) || fallback === undefined ? this.get(name) : fallback;
  }
}

function toNumber(value: JsonValue | undefined): number | null {
  if (value instanceof JsonFloat) return value.value;
  if (typeof value === 'bigint') return Number(value);
  return typeof value === 'number' ? value : null;
}
