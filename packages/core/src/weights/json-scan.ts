import { JsonScanError } from './json-error.ts';
import { JsonStringReader, showByte } from './json-string.ts';

/** Receives the parts of a JSON text in order. Offsets are of the part's first byte. */
export interface JsonHandler {
  /** False while strings (not keys) are of no use: they are checked and handed on as ''. */
  readonly keepStrings: boolean;
  beginObject(offset: number): void;
  endObject(offset: number): void;
  beginArray(offset: number): void;
  endArray(offset: number): void;
  key(name: string, offset: number): void;
  string(value: string, offset: number): void;
  /** `text` is a number by JSON's grammar; nothing was rounded. */
  number(text: string, offset: number): void;
  literal(value: boolean | null, offset: number): void;
}

/** What untrusted text may cost. */
export interface JsonLimits {
  /** Keys of all objects together. */
  maxKeys: number;
  /** Values of any kind. */
  maxValues: number;
  maxKeyBytes: number;
  maxStringBytes: number;
}

const MAX_DEPTH = 64;
const MAX_NUMBER_BYTES = 64;
const numberGrammar = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const literals = new Map<string, boolean | null>([
  ['true', true],
  ['false', false],
  ['null', null],
]);

type Expect = 'value' | 'valueOrEnd' | 'keyOrEnd' | 'key' | 'colon' | 'commaOrEnd' | 'nothing';
type Token = 'none' | 'key' | 'string' | 'number' | 'word';

/**
 * A strict JSON scanner for text that nobody vouches for (RFC 8259, no extensions). It takes chunks and keeps almost nothing, so
 * that a header of 100 MB costs a pass over its bytes. Unlike JSON.parse it refuses keys that occur twice in one object, also
 * when one is spelt with escapes, nesting above 64, invalid UTF-8, and anything beyond its limits; and it hands on numbers as
 * text, so that nothing is rounded. Throws JsonScanError.
 */
export class JsonScanner {
  readonly #handler: JsonHandler;
  readonly #limits: JsonLimits;
  readonly #strings = new JsonStringReader();
  /** One entry per open container: the keys of an object, or null for an array. */
  readonly #open: (KeySet | null)[] = [];
  readonly #spareKeySets: KeySet[] = [];
  #expect: Expect = 'value';
  #token: Token = 'none';
  #tokenStart = 0;
  #text = '';
  #base = 0;
  #keys = 0;
  #values = 0;

  constructor(handler: JsonHandler, limits: JsonLimits) {
    this.#handler = handler;
    this.#limits = limits;
  }

  push(bytes: Uint8Array): void {
    let i = 0;
    while (i < bytes.length) {
      switch (this.#token) {
        case 'none':
          i = this.#scanStructure(bytes, i);
          break;
        case 'key':
        case 'string':
          i = this.#strings.scan(bytes, i, this.#base);
          if (this.#strings.done) this.#endString();
          break;
        default:
          i = this.#scanWord(bytes, i);
      }
    }
    this.#base += bytes.length;
  }

  /** To be called after the last chunk. */
  end(): void {
    if (this.#token === 'number' || this.#token === 'word') this.#endWord();
    if (this.#token === 'none' && this.#expect === 'nothing') return;
    throw new JsonScanError(
      'syntax',
      this.#base,
      'the end of the text',
      this.#token === 'none' ? this.#expected() : 'the end of a string',
    );
  }

  #scanStructure(bytes: Uint8Array, at: number): number {
    let i = at;
    while (i < bytes.length) {
      const c = bytes[i]!;
      if (c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09) {
        i++;
        continue;
      }
      const offset = this.#base + i;
      i++;
      if (c === 0x22) return this.#beginString(offset, i);
      if (c === 0x2c) this.#comma(offset);
      else if (c === 0x3a) this.#colon(offset);
      else if (c === 0x7b || c === 0x5b) this.#beginContainer(c === 0x7b, offset);
      else if (c === 0x7d || c === 0x5d) this.#endContainer(c === 0x7d, offset);
      else return this.#beginWord(c, offset, i - 1);
    }
    return i;
  }

  // -------------------------------------------------------------------------------------------------------- structure

  #comma(offset: number): void {
    if (this.#expect !== 'commaOrEnd') throw this.#unexpected(',', offset);
    this.#expect = this.#open.at(-1) === null ? 'value' : 'key';
  }

  #colon(offset: number): void {
    if (this.#expect !== 'colon') throw this.#unexpected(':', offset);
    this.#expect = 'value';
  }

  #beginContainer(isObject: boolean, offset: number): void {
    this.#countValue(isObject ? '{' : '[', offset);
    if (this.#open.length === MAX_DEPTH)
      throw new JsonScanError('limit', offset, 'deeper nesting', `at most ${MAX_DEPTH} levels`);
    this.#open.push(isObject ? (this.#spareKeySets.pop() ?? new KeySet()) : null);
    this.#expect = isObject ? 'keyOrEnd' : 'valueOrEnd';
    if (isObject) this.#handler.beginObject(offset);
    else this.#handler.beginArray(offset);
  }

  #endContainer(isObject: boolean, offset: number): void {
    const closes = this.#expect === 'commaOrEnd' || this.#expect === (isObject ? 'keyOrEnd' : 'valueOrEnd');
    const keys = this.#open.at(-1);
    if (!closes || keys === undefined || (keys !== null) !== isObject)
      throw this.#unexpected(isObject ? '}' : ']', offset);
    this.#open.pop();
    if (keys !== null) {
      keys.clear();
      this.#spareKeySets.push(keys);
    }
    this.#afterValue();
    if (isObject) this.#handler.endObject(offset);
    else this.#handler.endArray(offset);
  }

  #afterValue(): void {
    this.#expect = this.#open.length === 0 ? 'nothing' : 'commaOrEnd';
  }

  /** Every value passes here before it is handed on. */
  #countValue(found: string, offset: number): void {
    if (this.#expect !== 'value' && this.#expect !== 'valueOrEnd') throw this.#unexpected(found, offset);
    if (++this.#values > this.#limits.maxValues)
      throw new JsonScanError('limit', offset, 'more values', `at most ${this.#limits.maxValues} values`);
  }

  // ---------------------------------------------------------------------------------------------------------- strings

  #beginString(offset: number, next: number): number {
    const isKey = this.#expect === 'key' || this.#expect === 'keyOrEnd';
    if (isKey) {
      if (++this.#keys > this.#limits.maxKeys)
        throw new JsonScanError('limit', offset, 'more keys', `at most ${this.#limits.maxKeys} keys`);
      this.#strings.begin(true, this.#limits.maxKeyBytes);
    } else {
      this.#countValue('a string', offset);
      this.#strings.begin(this.#handler.keepStrings, this.#limits.maxStringBytes);
    }
    this.#token = isKey ? 'key' : 'string';
    this.#tokenStart = offset;
    return next;
  }

  #endString(): void {
    const isKey = this.#token === 'key';
    const value = this.#strings.value;
    this.#token = 'none';
    if (!isKey) {
      this.#afterValue();
      this.#handler.string(value, this.#tokenStart);
      return;
    }
    if (!this.#open.at(-1)!.add(value)) {
      throw new JsonScanError(
        'duplicate',
        this.#tokenStart,
        `the key ${quote(value)} twice`,
        'every key of an object once',
      );
    }
    this.#expect = 'colon';
    this.#handler.key(value, this.#tokenStart);
  }

  // ------------------------------------------------------------------------------------------------ numbers and words

  #beginWord(c: number, offset: number, at: number): number {
    const isNumber = c === 0x2d || (c >= 0x30 && c <= 0x39);
    const isLetter = (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a);
    if (!isNumber && !isLetter) throw this.#unexpected(showByte(c), offset);
    this.#countValue(isNumber ? 'a number' : `the letter ${showByte(c)}`, offset);
    this.#token = isNumber ? 'number' : 'word';
    this.#tokenStart = offset;
    this.#text = '';
    return at;
  }

  #scanWord(bytes: Uint8Array, at: number): number {
    let i = at;
    while (i < bytes.length && isWordByte(bytes[i]!)) i++;
    if (this.#text.length + i - at > MAX_NUMBER_BYTES) {
      throw new JsonScanError(
        'limit',
        this.#tokenStart,
        'a longer number',
        `numbers of at most ${MAX_NUMBER_BYTES} characters`,
      );
    }
    for (let k = at; k < i; k++) this.#text += String.fromCharCode(bytes[k]!);
    if (i < bytes.length) this.#endWord();
    return i;
  }

  #endWord(): void {
    const text = this.#text;
    const isNumber = this.#token === 'number';
    this.#token = 'none';
    this.#afterValue();
    if (isNumber) {
      if (!numberGrammar.test(text)) throw new JsonScanError('syntax', this.#tokenStart, text, 'a number in JSON form');
      this.#handler.number(text, this.#tokenStart);
      return;
    }
    const literal = literals.get(text);
    if (literal === undefined)
      throw new JsonScanError('syntax', this.#tokenStart, text, 'true, false, null, or a quoted string');
    this.#handler.literal(literal, this.#tokenStart);
  }

  #unexpected(found: string, offset: number): JsonScanError {
    return new JsonScanError('syntax', offset, found, this.#expected());
  }

  #expected(): string {
    switch (this.#expect) {
      case 'key':
        return 'a quoted key';
      case 'keyOrEnd':
        return 'a quoted key or }';
      case 'colon':
        return ':';
      case 'commaOrEnd':
        return this.#open.at(-1) === null ? ', or ]' : ', or }';
      case 'nothing':
        return 'nothing after the value';
      default:
        return 'a value';
    }
  }
}

/** Letters, digits and the signs of numbers: what may stand in a number or a literal. */
function isWordByte(c: number): boolean {
  return (
    (c >= 0x30 && c <= 0x39) ||
    (c >= 0x61 && c <= 0x7a) ||
    (c >= 0x41 && c <= 0x5a) ||
    c === 0x2b ||
    c === 0x2d ||
    c === 0x2e
  );
}

/** Keys of one object. Most objects have few: a short list is cheaper than a Set. */
class KeySet {
  readonly #few: string[] = [];
  #many: Set<string> | null = null;

  /** False when the key is there already. */
  add(key: string): boolean {
    if (this.#many !== null) {
      const before = this.#many.size;
      return this.#many.add(key).size > before;
    }
    if (this.#few.includes(key)) return false;
    if (this.#few.push(key) > 8) this.#many = new Set(this.#few);
    return true;
  }

  clear(): void {
    this.#few.length = 0;
    this.#many = null;
  }
}

/** Text from a file, shortened and with control characters escaped, fit for a message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 117)}...` : text);
}
