import { JsonScanError } from './json-error.ts';

const PLAIN = 0;
const ESCAPE = 1;
const HEX = 2;
const NEED_LOW_SURROGATE = 3;

const MAX_WORD = 16;
const WORD_SLOTS = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const escapes: Readonly<Record<number, number>> = {
  34: 0x22,
  92: 0x5c,
  47: 0x2f,
  98: 0x08,
  102: 0x0c,
  110: 0x0a,
  114: 0x0d,
  116: 0x09,
};

/**
 * Reads one JSON string at a time from chunks of UTF-8, checking every byte: escapes, control characters, UTF-8 well-formedness
 * (no overlong forms, no surrogates, no lone `\uD800`). Memory is bounded by the string's cap; a string that nobody wants
 * (`keep` false) is checked and not stored.
 */
export class JsonStringReader {
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #scratch = new Uint8Array(256);
  #length = 0;
  #cap = 0;
  #keep = true;
  #mode = PLAIN;
  #hex = 0;
  #hexDigits = 0;
  #highSurrogate = 0;
  // Continuation bytes still needed, and the range that the next one must lie in.
  #need = 0;
  #low = 0x80;
  #high = 0xbf;
  readonly #words: (string | undefined)[] = new Array(WORD_SLOTS).fill(undefined);
  /** The string, once `scan` has met its closing quote. Empty when it was not kept. */
  value = '';
  done = false;

  /** Starts after an opening quote. `cap`: bytes that a kept string may have. */
  begin(keep: boolean, cap: number): void {
    this.#keep = keep;
    this.#cap = cap;
    this.#length = 0;
    this.#mode = PLAIN;
    this.#highSurrogate = 0;
    this.#need = 0;
    this.done = false;
    this.value = '';
  }

  /** Consumes bytes from `at`; returns the index after the last one used. `base` is the file offset of bytes[0]. */
  scan(bytes: Uint8Array, at: number, base: number): number {
    let i = at;
    while (i < bytes.length && !this.done) {
      if (this.#mode === PLAIN) i = this.#scanPlain(bytes, i, base);
      else if (this.#mode === HEX) this.#scanHex(bytes[i]!, base + i++);
      else this.#scanEscape(bytes[i]!, base + i++);
    }
    return i;
  }

  #scanPlain(bytes: Uint8Array, start: number, base: number): number {
    let i = start;
    const end = bytes.length;
    while (i < end) {
      const c = bytes[i]!;
      if (c >= 0x80 || this.#need > 0) this.#checkUtf8(c, base + i);
      else if (c === QUOTE || c === BACKSLASH) break;
      else if (c < 0x20)
        throw new JsonScanError(
          'syntax',
          base + i,
          `control character ${hexByte(c)} in a string`,
          'an escape such as \\n',
        );
      i++;
    }
    if (i < end && bytes[i] === QUOTE) this.#finish(bytes, start, i, base);
    else this.#append(bytes, start, i, base);
    if (i === end) return i;
    if (!this.done) this.#mode = ESCAPE;
    return i + 1;
  }

  #finish(bytes: Uint8Array, start: number, end: number, base: number): void {
    this.done = true;
    if (!this.#keep) return;
    if (this.#length === 0 && end - start <= this.#cap) {
      this.value = this.#decode(bytes, start, end);
      return;
    }
    this.#append(bytes, start, end, base);
    this.value = this.#decode(this.#scratch, 0, this.#length);
  }

  /** Headers repeat a few short words a hundred thousand times: they are decoded once. */
  #decode(bytes: Uint8Array, start: number, end: number): string {
    if (end - start > MAX_WORD) return this.#decoder.decode(bytes.subarray(start, end));
    let hash = end - start;
    for (let i = start; i < end; i++) hash = (hash * 31 + bytes[i]!) & 0xffff;
    const slot = hash & (WORD_SLOTS - 1);
    const known = this.#words[slot];
    if (known !== undefined && isAsciiOf(known, bytes, start, end)) return known;
    const word = this.#decoder.decode(bytes.subarray(start, end));
    this.#words[slot] = word;
    return word;
  }

  #append(bytes: Uint8Array, start: number, end: number, base: number): void {
    if (!this.#keep || start === end) return;
    this.#reserve(end - start, base + start);
    this.#scratch.set(bytes.subarray(start, end), this.#length);
    this.#length += end - start;
  }

  #reserve(extra: number, offset: number): void {
    const wanted = this.#length + extra;
    if (wanted > this.#cap)
      throw new JsonScanError('limit', offset, 'a longer string', `strings of at most ${this.#cap} bytes here`);
    if (wanted <= this.#scratch.length) return;
    const larger = new Uint8Array(Math.min(this.#cap, Math.max(wanted, 2 * this.#scratch.length)));
    larger.set(this.#scratch.subarray(0, this.#length));
    this.#scratch = larger;
  }

  #checkUtf8(c: number, offset: number): void {
    if (this.#need > 0) {
      if (c < this.#low || c > this.#high) throw badUtf8(c, offset);
      this.#need--;
      this.#low = 0x80;
      this.#high = 0xbf;
      return;
    }
    if (c < 0xc2 || c > 0xf4) throw badUtf8(c, offset);
    this.#need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    this.#low = c === 0xe0 ? 0xa0 : c === 0xf0 ? 0x90 : 0x80;
    this.#high = c === 0xed ? 0x9f : c === 0xf4 ? 0x8f : 0xbf;
  }

  #scanEscape(c: number, offset: number): void {
    if (this.#mode === NEED_LOW_SURROGATE) {
      if (c !== BACKSLASH) throw loneSurrogate(offset);
      this.#mode = ESCAPE;
      return;
    }
    if (c === 0x75) {
      this.#mode = HEX;
      this.#hex = 0;
      this.#hexDigits = 0;
      return;
    }
    if (this.#highSurrogate !== 0) throw loneSurrogate(offset);
    const plain = escapes[c];
    if (plain === undefined)
      throw new JsonScanError(
        'syntax',
        offset,
        `the escape \\${showByte(c)}`,
        'one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u',
      );
    this.#appendCodePoint(plain, offset);
    this.#mode = PLAIN;
  }

  #scanHex(c: number, offset: number): void {
    const digit = hexDigit(c);
    if (digit < 0) throw new JsonScanError('syntax', offset, showByte(c), 'four hexadecimal digits after \\u');
    this.#hex = this.#hex * 16 + digit;
    if (++this.#hexDigits < 4) return;
    this.#mode = PLAIN;
    const unit = this.#hex;
    const isLow = unit >= 0xdc00 && unit <= 0xdfff;
    if (this.#highSurrogate !== 0) {
      if (!isLow) throw loneSurrogate(offset);
      this.#appendCodePoint(0x10000 + ((this.#highSurrogate - 0xd800) << 10) + (unit - 0xdc00), offset);
      this.#highSurrogate = 0;
    } else if (isLow) throw loneSurrogate(offset);
    else if (unit >= 0xd800 && unit <= 0xdbff) {
      this.#highSurrogate = unit;
      this.#mode = NEED_LOW_SURROGATE;
    } else this.#appendCodePoint(unit, offset);
  }

  #appendCodePoint(code: number, offset: number): void {
    if (!this.#keep) return;
    this.#reserve(4, offset);
    const out = this.#scratch;
    let n = this.#length;
    if (code < 0x80) out[n++] = code;
    else if (code < 0x800) {
      out[n++] = 0xc0 | (code >> 6);
      out[n++] = 0x80 | (code & 0x3f);
    } else if (code < 0x10000) {
      out[n++] = 0xe0 | (code >> 12);
      out[n++] = 0x80 | ((code >> 6) & 0x3f);
      out[n++] = 0x80 | (code & 0x3f);
    } else {
      out[n++] = 0xf0 | (code >> 18);
      out[n++] = 0x80 | ((code >> 12) & 0x3f);
      out[n++] = 0x80 | ((code >> 6) & 0x3f);
      out[n++] = 0x80 | (code & 0x3f);
    }
    this.#length = n;
  }
}

/** Whether the bytes are the text, which must be ASCII to match. */
function isAsciiOf(text: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let i = 0; i < text.length; i++) {
    const c = bytes[start + i]!;
    if (c >= 0x80 || text.charCodeAt(i) !== c) return false;
  }
  return true;
}

function hexDigit(c: number): number {
  if (c >= 0x30 && c <= 0x39) return c - 0x30;
  const lower = c | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function hexByte(c: number): string {
  return `0x${c.toString(16).padStart(2, '0')}`;
}

/** A byte as a reader of a message can recognise it. */
export function showByte(c: number): string {
  return c > 0x20 && c < 0x7f ? String.fromCharCode(c) : `byte ${hexByte(c)}`;
}

function badUtf8(c: number, offset: number): JsonScanError {
  return new JsonScanError('utf8', offset, `byte ${hexByte(c)}`, 'UTF-8');
}

function loneSurrogate(offset: number): JsonScanError {
  return new JsonScanError(
    'utf8',
    offset,
    'half of a surrogate pair',
    'both halves, \\uD800-\\uDBFF then \\uDC00-\\uDFFF',
  );
}
