import { ModelFormatError } from '../../errors.ts';
import { quote } from '../json-scan.ts';
import type { GgufHeader, GgufValue } from './header.ts';

/** The typed view of the metadata of a GGUF file. A value of another type is a ModelFormatError GG_VALUE. */
export class GgufMetadata {
  readonly file: string;
  /** `general.architecture`, which begins the names of most keys. */
  readonly architecture: string;
  readonly #values: ReadonlyMap<string, GgufValue>;

  constructor({ file, metadata }: GgufHeader) {
    this.file = file;
    this.#values = metadata;
    this.architecture = this.string('general.architecture');
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** The key of the model's architecture, such as `llama.block_count` for `block_count`. */
  own(key: string): string {
    return `${this.architecture}.${key}`;
  }

  number(key: string, fallback?: number): number {
    const value = this.#values.get(key) ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw this.bad(key, 'a number');
  }

  /** A whole number, or the one that all entries of a list are: sizes that may differ from layer to layer. */
  size(key: string, fallback?: number): number {
    const value = this.#values.get(key);
    const list = Array.isArray(value) ? (value as readonly unknown[]) : null;
    const [first] = list ?? [value ?? fallback];
    const same = list === null || list.every(other => other === first);
    if (Number.isSafeInteger(first) && (first as number) >= 0 && same) return first as number;
    throw this.bad(key, list === null ? 'a whole number' : 'the same whole number for all layers');
  }

  string(key: string, fallback?: string): string {
    const value = this.#values.get(key) ?? fallback;
    if (typeof value === 'string') return value;
    throw this.bad(key, 'a string');
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.#values.get(key) ?? fallback;
    if (typeof value === 'boolean') return value;
    throw this.bad(key, 'true or false');
  }

  strings(key: string): readonly string[] {
    return this.#list(key, value => typeof value === 'string', 'a list of strings') as readonly string[];
  }

  numbers(key: string): readonly number[] {
    return this.#list(key, value => typeof value === 'number', 'a list of numbers') as readonly number[];
  }

  #list(key: string, accepts: (value: unknown) => boolean, expected: string): readonly unknown[] {
    const value = this.#values.get(key);
    if (Array.isArray(value) && value.every(accepts)) return value;
    throw this.bad(key, expected);
  }

  bad(key: string, expected: string, code = 'GG_VALUE'): ModelFormatError {
    const value = this.#values.get(key);
    const shown =
      typeof value === 'string' ? quote(value) : Array.isArray(value) ? `a list of ${value.length}` : `${value}`;
    return new ModelFormatError(code, value === undefined ? 'a key is missing' : 'the value of a key is not usable', {
      file: this.file,
      field: key,
      ...(value === undefined ? {} : { found: shown.slice(0, 80) }),
      expected,
    });
  }
}
