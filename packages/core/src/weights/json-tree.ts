import type { JsonHandler } from './json-scan.ts';

/** A number that was written with a fraction or an exponent. */
export class JsonFloat {
  readonly value: number;
  readonly text: string;
  constructor(text: string) {
    this.text = text;
    this.value = Number(text);
  }
}

/**
 * A JSON value in which nothing was lost: an integer is a number when it is exact (up to 2^53 - 1) and a bigint above, other
 * numbers are a JsonFloat, objects are Maps (so that `__proto__` is a key like any other).
 */
export type JsonValue = null | boolean | string | number | bigint | JsonFloat | JsonValue[] | Map<string, JsonValue>;

/** Builds one value from the events of a JsonScanner. `complete` is true once the value has ended. */
export class JsonTreeBuilder implements JsonHandler {
  readonly keepStrings = true;
  readonly #stack: (JsonValue[] | Map<string, JsonValue>)[] = [];
  readonly #keys: string[] = [];
  #value: JsonValue = null;
  complete = false;

  /** The value; the builder is ready for the next one. */
  take(): JsonValue {
    const value = this.#value;
    this.#value = null;
    this.complete = false;
    return value;
  }

  beginObject(): void {
    this.#stack.push(new Map());
  }
  endObject(): void {
    this.#add(this.#stack.pop()!);
  }
  beginArray(): void {
    this.#stack.push([]);
  }
  endArray(): void {
    this.#add(this.#stack.pop()!);
  }
  key(name: string): void {
    this.#keys.push(name);
  }
  string(value: string): void {
    this.#add(value);
  }
  number(text: string): void {
    this.#add(toNumber(text));
  }
  literal(value: boolean | null): void {
    this.#add(value);
  }

  #add(value: JsonValue): void {
    const parent = this.#stack.at(-1);
    if (parent === undefined) {
      this.#value = value;
      this.complete = true;
    } else if (Array.isArray(parent)) parent.push(value);
    else parent.set(this.#keys.pop()!, value);
  }
}

function toNumber(text: string): JsonValue {
  if (/[.eE]/.test(text)) return new JsonFloat(text);
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
}

/** A value in a message: what was found. */
export function showJson(value: JsonValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (value instanceof JsonFloat) return value.text;
  if (value instanceof Map) return 'an object';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : `an array of ${value.length}`;
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  return String(value);
}
