import { ModelFormatError } from '../errors.ts';
import { JsonFloat, type JsonValue, showJson } from '../weights/json-tree.ts';

export type JsonObject = ReadonlyMap<string, JsonValue>;

/** Reads typed values out of a parsed JSON file; a value of another type is a ModelFormatError that names file and field. */
export class JsonFields {
  readonly file: string;
  /** Path of this object in the file, such as `model.vocab`; empty at the root. */
  readonly path: string;
  readonly #object: JsonObject;

  constructor(file: string, path: string, value: JsonValue | undefined) {
    this.file = file;
    this.path = path;
    if (!(value instanceof Map)) throw this.#error('', 'this is not an object', value, 'an object');
    this.#object = value;
  }

  raw(name: string): JsonValue | undefined {
    return this.#object.get(name);
  }

  /** Names and values in the file's order. */
  entries(): IterableIterator<[string, JsonValue]> {
    return this.#object.entries();
  }

  has(name: string): boolean {
    const value = this.#object.get(name);
    return value !== undefined && value !== null;
  }

  object(name: string): JsonFields {
    return new JsonFields(this.file, this.pathOf(name), this.raw(name));
  }

  array(name: string): readonly JsonValue[] {
    const value = this.raw(name);
    if (!Array.isArray(value)) throw this.#error(name, 'this is not an array', value, 'an array');
    return value;
  }

  string(name: string): string {
    const value = this.raw(name);
    if (typeof value !== 'string') throw this.#error(name, 'this is not a string', value, 'a string');
    return value;
  }

  stringOr<T>(name: string, fallback: T): string | T {
    return this.has(name) ? this.string(name) : fallback;
  }

  booleanOr(name: string, fallback: boolean): boolean {
    if (!this.has(name)) return fallback;
    const value = this.raw(name);
    if (typeof value !== 'boolean') throw this.#error(name, 'this is not a boolean', value, 'true or false');
    return value;
  }

  /** One of the listed strings. */
  oneOf<T extends string>(name: string, choices: readonly T[], fallback: T): T {
    const value = this.stringOr(name, fallback);
    const choice = choices.find(known => known === value);
    if (choice === undefined) throw this.#error(name, 'this value is not known', value, choices.join(', '));
    return choice;
  }

  pathOf(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`;
  }

  #error(name: string, summary: string, found: JsonValue | undefined, expected: string): ModelFormatError {
    const field = name === '' ? this.path : this.pathOf(name);
    const details = { file: this.file, found: showJson(found), expected };
    return new ModelFormatError('TOKENIZER_BAD_FIELD', summary, field === '' ? details : { ...details, field });
  }
}

/** The value as plain JavaScript, for a library that wants that. Objects have no prototype. */
export function toPlain(value: JsonValue): unknown {
  if (value instanceof Map) {
    const plain: Record<string, unknown> = Object.create(null);
    for (const [key, entry] of value) plain[key] = toPlain(entry);
    return plain;
  }
  if (Array.isArray(value)) return value.map(toPlain);
  return value instanceof JsonFloat ? value.value : value;
}
