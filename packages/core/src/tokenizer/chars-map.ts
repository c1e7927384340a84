import { ModelFormatError } from '../errors.ts';
import { utf8Bytes } from './byte-alphabet.ts';
import type { JsonFields } from './json-fields.ts';

const MAX_GRAPHEME_BYTES = 6;
const HAS_LEAF = 1 << 8;
const LABEL = 0x800000ff;
const VALUE = 0x7fffffff;

/**
 * Reads `precompiled_charsmap` of a Precompiled normaliser: what SentencePiece compiles its rules into. A u32 with the size of a
 * double array in bytes, the double array (darts-clone) over UTF-8 with places in what follows, and the replacements, each with a
 * zero byte behind it. Applied as in Hugging Face's tokenizers: to graphemes of less than 6 bytes, else to each character, by the
 * shortest rule that begins them.
 */
export function readCharsMap(fields: JsonFields): (text: string) => string {
  const map = new CharsMap(fields);
  return text => map.normalize(text);
}

class CharsMap {
  readonly #trie: Uint32Array;
  readonly #replacements: Uint8Array;
  readonly #known = new Map<string, string>();
  readonly #graphemes = new Intl.Segmenter('und', { granularity: 'grapheme' });

  constructor(fields: JsonFields) {
    const bytes = decodeBase64(fields);
    const size = bytes.length < 4 ? 0 : new DataView(bytes.buffer).getUint32(0, true);
    if (size === 0 || size % 4 !== 0 || size > bytes.length - 4) throw badMap(fields, `a table of ${size} bytes`);
    this.#trie = Uint32Array.from({ length: size / 4 }, (_, i) =>
      new DataView(bytes.buffer).getUint32(4 + 4 * i, true),
    );
    this.#replacements = bytes.subarray(4 + size);
  }

  /** Text of printable ASCII, each character a grapheme of its own, goes without being segmented. */
  normalize(text: string): string {
    return text.replace(/[\x20-\x7e]+(?=[\x20-\x7e]|$)|[^\x20-\x7e]+|[\x20-\x7e][^\x20-\x7e]*/g, part =>
      /^[\x20-\x7e]+$/.test(part) ? this.#each(part) : this.#segmented(part),
    );
  }

  #segmented(text: string): string {
    let result = '';
    for (const { segment } of this.#graphemes.segment(text)) {
      const isShort = segment.length < MAX_GRAPHEME_BYTES && utf8Bytes(segment).length < MAX_GRAPHEME_BYTES;
      result += (isShort ? this.#rule(segment) : null) ?? this.#each(segment);
    }
    return result;
  }

  #each(text: string): string {
    let result = '';
    for (const character of text) result += this.#rule(character) ?? character;
    return result;
  }

  /** What stands for a text, or null. Most texts use few characters, so what is known is kept. */
  #rule(text: string): string | null {
    const known = this.#known.get(text);
    if (known !== undefined) return known === text ? null : known;
    const found = this.#lookUp(text);
    if (this.#known.size < 65_536) this.#known.set(text, found ?? text);
    return found;
  }

  /** The value of the shortest key that begins the text. */
  #lookUp(text: string): string | null {
    const trie = this.#trie;
    let at = offsetOf(trie[0]!);
    for (const byte of utf8Bytes(text)) {
      if (byte === 0) return null;
      at ^= byte;
      const unit = trie[at];
      if (unit === undefined || (unit & LABEL) >>> 0 !== byte) return null;
      at ^= offsetOf(unit);
      if ((unit & HAS_LEAF) !== 0) return this.#replacement((trie[at] ?? 0) & VALUE);
    }
    return null;
  }

  #replacement(start: number): string {
    const end = this.#replacements.indexOf(0, start);
    return new TextDecoder().decode(this.#replacements.subarray(start, end < 0 ? undefined : end));
  }
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & (1 << 9)) >>> 6);
}

function decodeBase64(fields: JsonFields): Uint8Array<ArrayBuffer> {
  const text = fields.string('precompiled_charsmap');
  try {
    return Uint8Array.from(atob(text), char => char.charCodeAt(0));
  } catch {
    throw badMap(fields, 'text that is not base64');
  }
}

function badMap(fields: JsonFields, found: string): ModelFormatError {
  return new ModelFormatError('TOKENIZER_BAD_FIELD', 'this is not a table of characters', {
    file: fields.file,
    field: fields.pathOf('precompiled_charsmap'),
    found,
    expected: 'the rules of SentencePiece, in base64',
  });
}
