/**
 * Decodes UTF-8 that comes in pieces. Text is handed out as soon as its bytes are final; an incomplete character waits for its
 * other bytes. What can no longer become a character turns into U+FFFD as in the WHATWG encoding standard, so that the pieces
 * together equal one decode of all bytes.
 */
export class Utf8Stream {
  /** An incomplete character: at most three bytes. */
  #pending: Uint8Array = empty;

  get isBetweenCharacters(): boolean {
    return this.#pending.length === 0;
  }

  push(bytes: Uint8Array): string {
    const all = this.#pending.length === 0 ? bytes : concat(this.#pending, bytes);
    const end = all.length - incompleteTail(all);
    this.#pending = end === all.length ? empty : all.slice(end);
    return end === 0 ? '' : decoder.decode(end === all.length ? all : all.subarray(0, end));
  }

  flush(): string {
    const rest = this.#pending;
    this.#pending = empty;
    return rest.length === 0 ? '' : decoder.decode(rest);
  }
}

/** Whole characters only are given to it, so it keeps no state and serves all streams: one takes microseconds to make. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const empty = new Uint8Array(0);

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const all = new Uint8Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}

/** How many bytes at the end begin a character that further bytes could complete: 0 to 3. */
export function incompleteTail(bytes: Uint8Array): number {
  const most = Math.min(3, bytes.length);
  for (let length = 1; length <= most; length++) {
    const lead = bytes[bytes.length - length]!;
    if (lead >= 0x80 && lead < 0xc0) continue;
    return length < characterLength(lead) && isValidPrefix(bytes, bytes.length - length) ? length : 0;
  }
  return 0;
}

/** Bytes of the character that begins with `lead`; 1 where none can. */
function characterLength(lead: number): number {
  if (lead < 0xc2 || lead > 0xf4) return 1;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/** Some leads narrow the range of the second byte: no overlong forms, no surrogates, nothing above U+10FFFF. */
function isValidPrefix(bytes: Uint8Array, at: number): boolean {
  const second = bytes[at + 1];
  if (second === undefined) return true;
  const lead = bytes[at]!;
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  return second >= low && second <= high;
}
