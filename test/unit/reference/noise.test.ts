import { describe, expect, it } from 'vitest';
import { erf } from '../../../packages/core/src/device/reference/lib/activation.ts';
import { gumbel, gumbelNoise } from '../../../packages/core/src/device/reference/lib/gumbel.ts';
import { philox } from '../../../packages/core/src/device/reference/lib/philox.ts';

describe('Philox 4x32-10', () => {
  // Known answers of the Random123 distribution.
  it.each([
    { counter: [0, 0, 0, 0], key: [0, 0], words: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8] },
    {
      counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      key: [0xffffffff, 0xffffffff],
      words: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    },
    {
      counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      key: [0xa4093822, 0x299f31d0],
      words: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    },
  ])('gives the known words for counter $counter', ({ counter, key, words }) => {
    const state = Uint32Array.from(counter);
    philox(state, key[0]!, key[1]!);
    expect([...state]).toEqual(words);
  });
});

describe('Gumbel noise', () => {
  it('is -log(-log(1 - u)) over the whole range of words', () => {
    for (const word of [0, 1, 1000, 2 ** 21, 2 ** 22 - 1, 2 ** 22, 2 ** 31, 2 ** 32 - 257]) {
      const u = (word + 0.5) * 2 ** -32;
      expect(gumbel(word)).toBeCloseTo(-Math.log(-Math.log1p(-u)), 6);
    }
    expect(gumbel(2 ** 32 - 1)).toBeCloseTo(-Math.log(24 * Math.LN2), 12);
  });

  it('depends on id, position and seed alone, whatever the count', () => {
    const [all, some] = [new Float64Array(11), new Float64Array(6)];
    gumbelNoise(1, 2, 3, 11, all);
    gumbelNoise(1, 2, 3, 6, some);
    expect(all.slice(0, 6)).toEqual(some);
    gumbelNoise(1, 2, 4, 6, some);
    expect(all[0]).not.toBe(some[0]);
    gumbelNoise(2, 2, 3, 6, some);
    expect(all[0]).not.toBe(some[0]);
  });

  it('has the mean and the variance of the distribution', () => {
    const noise = new Float64Array(40_000);
    gumbelNoise(123, 456, 7, noise.length, noise);
    const mean = noise.reduce((sum, x) => sum + x, 0) / noise.length;
    const variance = noise.reduce((sum, x) => sum + (x - mean) ** 2, 0) / noise.length;
    expect(Math.abs(mean - 0.5772)).toBeLessThan(0.03);
    expect(Math.abs(variance - Math.PI ** 2 / 6)).toBeLessThan(0.06);
  });
});

describe('erf', () => {
  it.each([
    [0, 0],
    [0.5, 0.5204998778130465],
    [-1, -0.8427007929497149],
    [2, 0.9953222650189527],
    [3.5, 0.9999992569016276],
    [7, 1],
  ])('erf(%d)', (x, expected) => {
    expect(erf(x)).toBeCloseTo(expected, 14);
  });
});
