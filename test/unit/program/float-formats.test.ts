import {
  bfloat16ToFloat,
  convertFloats,
  decodeFloats,
  encodeFloats,
  floatToBfloat16,
  floatToHalf,
  halfToFloat,
} from '@quire/core/program';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

/** The value of a half by the definition in IEEE 754, from strings of bits. */
function halfByDefinition(bits: number): number {
  const text = bits.toString(2).padStart(16, '0');
  const sign = text[0] === '1' ? -1 : 1;
  const exponent = Number.parseInt(text.slice(1, 6), 2);
  const fraction = Number.parseInt(text.slice(6), 2) / 1024;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -14 : sign * (1 + fraction) * 2 ** (exponent - 15);
}

/** Nearest of all finite values by search, ties to the even bit pattern. */
function nearestHalf(value: number): number {
  let [low, high] = [0, 0x7bff];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (halfByDefinition(middle) <= value) low = middle;
    else high = middle;
  }
  const [below, above] = [value - halfByDefinition(low), halfByDefinition(high) - value];
  if (below === above) return low % 2 === 0 ? low : high;
  return below < above ? low : high;
}

describe('half', () => {
  it('decodes all 65,536 patterns', () => {
    for (let bits = 0; bits < 65536; bits++) {
      if (!Object.is(halfToFloat(bits), halfByDefinition(bits))) throw new Error(`0x${bits.toString(16)}`);
    }
  });

  it('returns every pattern from its value', () => {
    for (let bits = 0; bits < 65536; bits++) {
      const value = halfByDefinition(bits);
      const expected = Number.isNaN(value) ? 0x7e00 : bits;
      if (floatToHalf(value) !== expected) throw new Error(`0x${bits.toString(16)}: ${floatToHalf(value)}`);
    }
  });

  it('rounds the middle between two neighbours to even, and either side of it to the nearer', () => {
    for (let bits = 0; bits < 0x7bff; bits++) {
      const middle = (halfByDefinition(bits) + halfByDefinition(bits + 1)) / 2;
      const tiny = middle * 2 ** -40;
      expect(floatToHalf(middle)).toBe(bits % 2 === 0 ? bits : bits + 1);
      expect(floatToHalf(middle - tiny)).toBe(bits);
      expect(floatToHalf(-middle - tiny)).toBe((bits + 1) | 0x8000);
    }
  });

  it('overflows to infinity at the middle above the largest, and keeps signs of zero', () => {
    expect(floatToHalf(65519.99)).toBe(0x7bff);
    expect(floatToHalf(65520)).toBe(0x7c00);
    expect(floatToHalf(-1e300)).toBe(0xfc00);
    expect(floatToHalf(-0)).toBe(0x8000);
    expect(floatToHalf(2 ** -25)).toBe(0);
    expect(floatToHalf(2 ** -25 * 1.0001)).toBe(1);
  });

  it('takes the nearest value of any number', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 65504, noNaN: true }), value => floatToHalf(value) === nearestHalf(value)),
      { numRuns: 2000 },
    );
  });
});

describe('bfloat16', () => {
  it('returns every pattern from its value', () => {
    const words = new Uint32Array(1);
    const value = new Float32Array(words.buffer);
    for (let bits = 0; bits < 65536; bits++) {
      words[0] = bits * 65536;
      expect(bfloat16ToFloat(bits)).toBe(value[0]);
      expect(floatToBfloat16(value[0]!)).toBe(Number.isNaN(value[0]!) ? 0x7fc0 : bits);
    }
  });

  it.each([
    [1, 0x3f80],
    [1 + 2 ** -8, 0x3f80],
    [1 + 3 * 2 ** -8, 0x3f82],
    [1 + 2 ** -8 + 2 ** -40, 0x3f81],
    [-(1 + 2 ** -7), 0xbf81],
    [2 ** -126, 0x0080],
    [2 ** -133, 0x0001],
    [2 ** -134, 0x0000],
    [2 ** -134 * 1.01, 0x0001],
    [(2 - 2 ** -8) * 2 ** 127 * (1 - 2 ** -50), 0x7f7f],
    [(2 - 2 ** -8) * 2 ** 127, 0x7f80],
    [-Infinity, 0xff80],
    [NaN, 0x7fc0],
  ])('rounds %d to nearest even', (value, bits) => {
    expect(floatToBfloat16(value)).toBe(bits);
  });
});

describe('arrays', () => {
  const values = Float32Array.of(0, -0, 1, -2.5, 65504, 1e-7, Infinity, 0.1);

  it.each(['f32', 'f16', 'bf16'] as const)('%s survives a round trip after one rounding', dtype => {
    const once = decodeFloats(dtype, encodeFloats(dtype, values));
    expect(decodeFloats(dtype, encodeFloats(dtype, once))).toEqual(once);
    expect(once.slice(0, 4)).toEqual(values.slice(0, 4));
  });

  it('copies f32', () => {
    const encoded = encodeFloats('f32', values);
    expect(encoded).toEqual(values);
    expect(encoded.buffer).not.toBe(values.buffer);
  });

  it('refuses u32 and an array of another width', () => {
    expect(() => encodeFloats('u32', values)).toThrow('expected f32, f16 or bf16');
    expect(() => decodeFloats('f16', new Float32Array(2))).toThrow('found Float32Array for f16, expected Uint16Array');
  });
});

describe('conversions of arrays', () => {
  /** Every upper half of an f32, with lower halves at and beside where roundings turn. */
  const lowerHalves = [
    0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x2001, 0x3000, 0x7fff, 0x8000, 0x8001, 0xefff, 0xf000, 0xffff,
  ];
  const every = new Uint32Array(65536);

  it.each([
    ['f16', floatToHalf],
    ['bf16', floatToBfloat16],
  ] as const)('round to %s as single values do, in every binade', (dtype, single) => {
    for (const lower of lowerHalves) {
      for (let upper = 0; upper < 65536; upper++) every[upper] = upper * 65536 + lower;
      const values = new Float32Array(every.buffer);
      const raw = encodeFloats(dtype, values);
      for (let i = 0; i < raw.length; i++) {
        if (raw[i] !== single(values[i]!)) throw new Error(`0x${every[i]!.toString(16)}: ${raw[i]}`);
      }
    }
  });

  it('pass from one format to another as by way of f32', () => {
    const raw = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
    for (const [from, to] of [
      ['f16', 'bf16'],
      ['bf16', 'f16'],
      ['bf16', 'f32'],
    ] as const) {
      const expected = encodeFloats(to, decodeFloats(from, raw));
      const into = to === 'f32' ? new Float32Array(65536) : new Uint16Array(65536);
      convertFloats(from, raw, to, into);
      expect(into).toEqual(expected);
    }
  });
});
