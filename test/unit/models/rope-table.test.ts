import { describe, expect, it } from 'vitest';
import type { RopeConfig, RopeScaling } from '../../../packages/core/src/models/config.ts';
import { buildRopeTable, ropeFrequencies } from '../../../packages/core/src/models/index.ts';

const rope = (scaling: RopeScaling, rotaryDim = 8): RopeConfig => ({ theta: 10000, rotaryDim, scaling });
const plain = [...ropeFrequencies(rope({ type: 'none' }), 1)];

describe('ropeFrequencies', () => {
  it('is theta^(-2i/dim)', () => {
    [1, 0.1, 0.01, 0.001].forEach((expected, i) => {
      expect(plain[i]).toBeCloseTo(expected, 15);
    });
  });

  it('is divided by a linear factor', () => {
    expect([...ropeFrequencies(rope({ type: 'linear', factor: 4 }), 1)]).toEqual(plain.map(f => f / 4));
  });

  it('keeps short waves, stretches long ones and blends between with llama3', () => {
    const scaling: RopeScaling = {
      type: 'llama3',
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositions: 128,
    };
    const found = ropeFrequencies(rope(scaling), 1);
    // Waves of 6.3, 63, 628 and 6283 positions against bounds of 32 and 128.
    const smooth = (128 / (20 * Math.PI) - 1) / 3;
    expect(found[0]).toBe(1);
    expect(found[1]).toBeCloseTo((1 - smooth) * 0.0125 + smooth * 0.1, 12);
    expect(found[2]).toBeCloseTo(0.00125, 15);
    expect(found[3]).toBeCloseTo(0.000125, 15);
  });

  it('keeps pairs that turn often, stretches those that turn seldom and blends between with yarn', () => {
    const scaling: RopeScaling = {
      type: 'yarn',
      factor: 4,
      originalMaxPositions: 1000,
      betaFast: 8,
      betaSlow: 0.5,
      truncate: true,
      attentionFactor: 1,
    };
    // 8 turns in 1000 positions: pair 4 log10(1000 / (16 pi)) / 4 = 1.30; half a turn: pair log10(1000 / pi) = 2.50.
    const rounded = ropeFrequencies(rope(scaling), 1);
    expect(rounded[0]).toBe(plain[0]);
    expect(rounded[1]).toBe(plain[1]);
    expect(rounded[2]).toBeCloseTo(0.5 * 0.01 + 0.5 * 0.0025, 15);
    expect(rounded[3]).toBeCloseTo(0.001 / 4, 15);
    const exact = ropeFrequencies(rope({ ...scaling, truncate: false }), 1);
    const [low, high] = [Math.log10(1000 / (16 * Math.PI)), Math.log10(1000 / Math.PI)];
    const share = (2 - low) / (high - low);
    expect(exact[2]).toBeCloseTo((1 - share) * 0.01 + share * 0.0025, 15);
  });

  it('stretches the base beyond the original length with dynamic NTK', () => {
    const scaling: RopeScaling = { type: 'dynamic', factor: 2, originalMaxPositions: 16 };
    expect([...ropeFrequencies(rope(scaling), 16)]).toEqual(plain);
    // Base 10000 (2 * 32 / 16 - 1)^(8 / 6)
    const base = 10000 * 3 ** (8 / 6);
    expect(ropeFrequencies(rope(scaling), 32)[3]).toBeCloseTo(base ** -0.75, 12);
  });
});

describe('buildRopeTable', () => {
  it('holds cosines, then sines, of each position', () => {
    const table = buildRopeTable(rope({ type: 'none' }), 40);
    expect(table.length).toBe(40 * 8);
    expect([...table.subarray(0, 8)]).toEqual([1, 1, 1, 1, 0, 0, 0, 0]);
    expect(table[37 * 8 + 1]).toBe(Math.fround(Math.cos(37 * plain[1]!)));
    expect(table[37 * 8 + 4 + 2]).toBe(Math.fround(Math.sin(37 * plain[2]!)));
  });

  it('multiplies both by the attention factor of yarn', () => {
    const yarn = {
      type: 'yarn',
      factor: 1,
      originalMaxPositions: 64,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
    } as const;
    const table = buildRopeTable(rope({ ...yarn, attentionFactor: 1.25 }), 10);
    expect([...table.subarray(0, 8)]).toEqual([1.25, 1.25, 1.25, 1.25, 0, 0, 0, 0]);
    expect(table[9 * 8 + 4]).toBe(Math.fround(1.25 * Math.sin(9)));
  });

  it('gives each position the dynamic base of the sequence that ends there', () => {
    const config = rope({ type: 'dynamic', factor: 2, originalMaxPositions: 16 });
    const table = buildRopeTable(config, 32);
    for (const position of [15, 16, 31]) {
      const frequency = ropeFrequencies(config, position + 1)[3]!;
      expect(table[position * 8 + 4 + 3]).toBe(Math.fround(Math.sin(position * frequency)));
    }
  });
});
