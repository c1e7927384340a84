import { type QuantDType, quantDTypes, quantFormats, quantRecord, shapeBytes } from '@quire/core/contract';
import { dequantize, floatToHalf, halfToFloat, QuantizeError, quantizeRows } from '@quire/core/program';
import { describe, expect, it } from 'vitest';

function roundTrip(dtype: QuantDType, values: Float32Array, columns: number): Float32Array {
  const back = new Float32Array(values.length);
  dequantize(dtype, quantizeRows(dtype, values, columns), columns, 0, values.length, back);
  return back;
}

/** Repeatable numbers in [-1, 1) with a wide spread. */
function numbers(count: number, scale = 1): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => scale * Math.sin(i * i + 1) ** 3);
}

describe('quantizeRows', () => {
  it.each(quantDTypes)('%s: no value is farther than half a step, the extremes a step of their own', dtype => {
    const columns = 256;
    const values = numbers(3 * columns);
    const back = roundTrip(dtype, values, columns);
    const { bits, zeros } = quantFormats[dtype];
    const group = quantFormats[dtype].group || columns;
    for (let first = 0; first < values.length; first += group) {
      const part = [...values.subarray(first, first + group), 0];
      const [least, most] = [Math.min(...part), Math.max(...part)];
      const extreme = Math.max(most, -least);
      const step = bits === 8 ? extreme / 127 : zeros ? (most - least) / 15 : extreme / 8;
      // A symmetric code ends a step before the extreme of the other sign; a zero point is rounded to a step.
      const most4 = bits === 4 ? 1.01 : 0.5001;
      part.slice(0, -1).forEach((value, i) => {
        expect(Math.abs(back[first + i]! - value) / step, `${dtype} ${first + i}`).toBeLessThanOrEqual(most4);
      });
    }
  });

  it('puts bytes where the contract says', () => {
    const q8 = quantizeRows('q8', Float32Array.of(127, -127, 64, 0, 1), 5);
    expect(quantRecord('q8', 5)).toEqual({ codeBytes: 16, groups: 1, bytes: 32 });
    expect([...new Int8Array(q8.buffer, 0, 5)]).toEqual([127, -127, 64, 0, 1]);
    expect(new Float32Array(q8.buffer)[4]).toBe(1);

    const row = Float32Array.from({ length: 32 }, (_, i) => (i === 0 ? -8 : (i % 16) - 8));
    const q4 = quantizeRows('q4_32', row, 32);
    expect(q4.length).toBe(8);
    // Columns 0, 2, 4, 6 in the low half, 1, 3, 5, 7 in the high one.
    expect(q4[0]).toBe(0x75316420);
    expect(q4[4]! & 0xffff).toBe(floatToHalf(1));

    const shifted = quantizeRows(
      'q4_32z',
      row.map(value => value + 6),
      32,
    );
    expect(halfToFloat(shifted[4]! & 0xffff)).toBe(1);
    expect(halfToFloat(shifted[4]! >>> 16)).toBe(2);
    expect(shifted[0]).toBe(0x75316420);
    expect(shapeBytes('q4_128', [3, 256])).toBe(3 * (128 + 32));
  });

  it.each(quantDTypes)('%s: rows of zeros and of the smallest numbers become zero', dtype => {
    for (const value of [0, 1e-30]) {
      const back = roundTrip(dtype, new Float32Array(128).fill(value), 128);
      expect(Math.max(...back.map(Math.abs))).toBeLessThan(1.001e-30);
    }
  });

  it.each(quantDTypes)('%s: what is not finite, or beyond its scale, is refused', dtype => {
    const values = numbers(128);
    for (const bad of [Number.NaN, Infinity, -Infinity, ...(dtype === 'q8' ? [] : [3e38])]) {
      values[77] = bad;
      expect(() => quantizeRows(dtype, values, 128), `${bad}`).toThrow(QuantizeError);
    }
  });
});
