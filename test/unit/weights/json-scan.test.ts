import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonScanError } from '../../../packages/core/src/weights/json-error.ts';
import { type JsonLimits, JsonScanner } from '../../../packages/core/src/weights/json-scan.ts';
import { JsonFloat, JsonTreeBuilder, type JsonValue } from '../../../packages/core/src/weights/json-tree.ts';

const roomy: JsonLimits = { maxKeys: 1e6, maxValues: 1e6, maxKeyBytes: 1e6, maxStringBytes: 1e6 };

/** Scans a text in chunks of the given sizes, used in turn. */
function scan(text: string | Uint8Array, chunks: readonly number[] = [1 << 20], limits = roomy): JsonValue {
  const bytes = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  const tree = new JsonTreeBuilder();
  const scanner = new JsonScanner(tree, limits);
  for (let at = 0, k = 0; at < bytes.length; k++) {
    const size = chunks[k % chunks.length]!;
    // Reused memory must not show through: the scanner may not keep a chunk.
    const chunk = bytes.slice(at, at + size);
    scanner.push(chunk);
    chunk.fill(0x7a);
    at += size;
  }
  scanner.end();
  return tree.take();
}

function plain(value: JsonValue): unknown {
  if (value instanceof JsonFloat) return value.value;
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Map) return new Map([...value].map(([key, v]) => [key, plain(v)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

/** What JSON.parse gives, with objects as Maps. */
function reference(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reference);
  if (value === null || typeof value !== 'object') return value;
  return new Map(Object.entries(value).map(([key, v]) => [key, reference(v)]));
}

function faultOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof JsonScanError) return `${error.fault}@${error.offset}`;
    throw error;
  }
  return 'accepted';
}

const chunkings = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 5 });

describe('JsonScanner', () => {
  it('agrees with JSON.parse on every valid text, however it is cut into chunks', () => {
    fc.assert(
      fc.property(fc.jsonValue(), chunkings, fc.constantFrom(0, 1, '\t'), (value, chunks, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(plain(scan(text, chunks))).toEqual(reference(JSON.parse(text)));
      }),
      { numRuns: 2000 },
    );
  });

  it('accepts only what JSON.parse accepts, whatever one byte of a valid text is replaced by', () => {
    const byte = fc.constantFrom(...'{}[]:,"\\ute+-.0123456789 \n\u0001'.split(''));
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), byte, chunkings, (value, place, replacement, chunks) => {
        const text = JSON.stringify(value);
        const at = place % text.length;
        const changed = text.slice(0, at) + replacement + text.slice(at + 1);
        if (/\\ud[89a-f]/i.test(changed) || changed.includes('\ud800')) return;
        let parsed: unknown;
        try {
          parsed = reference(JSON.parse(changed));
        } catch {
          // A key that is there twice is met before the fault behind it.
          expect(faultOf(() => scan(changed, chunks))).toMatch(/^(syntax|utf8|duplicate)@/);
          return;
        }
        const verdict = faultOf(() => scan(changed, chunks));
        if (verdict === 'accepted') expect(plain(scan(changed, chunks))).toEqual(parsed);
        else expect(verdict).toMatch(/^duplicate@/);
      }),
      { numRuns: 3000 },
    );
  });

  it('keeps integers exact: numbers up to 2^53 - 1, bigints above, fractions apart', () => {
    expect(scan('9007199254740991')).toBe(2 ** 53 - 1);
    expect(scan('9007199254740993')).toBe(9007199254740993n);
    expect(scan('-18446744073709551616')).toBe(-(2n ** 64n));
    expect(scan('1.0')).toEqual(new JsonFloat('1.0'));
    expect((scan('1e999') as JsonFloat).value).toBe(Number.POSITIVE_INFINITY);
  });

  it('finds the same key twice, also behind escapes, in small and in large objects', () => {
    expect(faultOf(() => scan('{"a":1,"\\u0061":2}'))).toBe('duplicate@7');
    expect(faultOf(() => scan('{"x":{"a":1},"y":{"a":1}}'))).toBe('accepted');
    const many = Array.from({ length: 50 }, (_, i) => `"k${i}":0`).join(',');
    expect(faultOf(() => scan(`{${many},"k3":0}`))).toMatch(/^duplicate@/);
    expect(faultOf(() => scan(`[{${many}},{${many}}]`))).toBe('accepted');
  });

  it('treats __proto__ as a key like any other', () => {
    expect(scan('{"__proto__":{"a":1},"constructor":2}')).toEqual(
      new Map<string, JsonValue>([
        ['__proto__', new Map([['a', 1]])],
        ['constructor', 2],
      ]),
    );
  });

  it.each([
    ['an overlong form', [0xc0, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a cut sequence', [0xe2, 0x82]],
    ['a lone continuation', [0x80]],
    ['a code point above U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
    ['a byte that UTF-8 never has', [0xff]],
  ])('refuses %s in a string, in any chunking', (_, bytes) => {
    const text = Uint8Array.from([0x22, 0x61, ...bytes, 0x22]);
    for (const size of [1, 2, 3, 100]) expect(faultOf(() => scan(text, [size]))).toMatch(/^utf8@/);
  });

  it('joins surrogate pairs and refuses halves', () => {
    expect(scan('"\\ud83e\\udd8a"', [1])).toBe('🦊');
    for (const half of ['"\\ud83e"', '"\\ud83ex"', '"\\ud83e\\n"', '"\\udd8a"', '"\\ud83e\\u0041"']) {
      expect(faultOf(() => scan(half, [1]))).toMatch(/^utf8@/);
    }
  });

  it('stops at its limits', () => {
    const depth = (n: number) => '['.repeat(n) + ']'.repeat(n);
    expect(faultOf(() => scan(depth(64)))).toBe('accepted');
    expect(faultOf(() => scan(depth(65)))).toBe('limit@64');
    expect(faultOf(() => scan('{"a":1,"b":2}', [9], { ...roomy, maxKeys: 1 }))).toBe('limit@7');
    expect(faultOf(() => scan('[1,2]', [9], { ...roomy, maxValues: 2 }))).toBe('limit@3');
    expect(faultOf(() => scan('{"abc":1}', [9], { ...roomy, maxKeyBytes: 2 }))).toMatch(/^limit@/);
    expect(faultOf(() => scan('"abc"', [1], { ...roomy, maxStringBytes: 2 }))).toMatch(/^limit@/);
    expect(faultOf(() => scan(`1${'0'.repeat(64)}`))).toBe('limit@0');
  });

  it('checks strings that nobody wants, and stores none of them', () => {
    const seen: string[] = [];
    const nothing = () => {};
    const handler = {
      keepStrings: false,
      beginObject: nothing,
      endObject: nothing,
      beginArray: nothing,
      endArray: nothing,
      key: nothing,
    };
    const scanner = new JsonScanner(
      { ...handler, number: nothing, literal: nothing, string: value => seen.push(value) },
      { ...roomy, maxStringBytes: 1 },
    );
    scanner.push(new TextEncoder().encode(`["${'x'.repeat(5000)}","\\ud83e\\udd8a"]`));
    scanner.end();
    expect(seen).toEqual(['', '']);
  });
});
