import { AsyncLLM } from '@quire/core';
import { describe, expect, it } from 'vitest';
import { type Band, bandsOf, benchPositions, fitCost } from '../../packages/server/src/bench/positions.ts';
import { openTestReference } from '../support/devices.ts';
import { tinyConfig, tinyRunner } from '../support/tiny-engine.ts';

/** Bands of 100 tokens that take `time` of their middle. */
const bands = (time: (position: number) => number): Band[] =>
  Array.from({ length: 8 }, (_, i) => ({ start: 100 * i, end: 100 * (i + 1), perToken: time(100 * i + 50) }));

describe('the time of a token', () => {
  it('is parted into what is the same everywhere and what grows with the position', () => {
    const { rest, perPosition, deviation } = fitCost(bands(position => 3 + 0.01 * position));
    expect(rest).toBeCloseTo(3, 9);
    expect(perPosition).toBeCloseTo(0.01, 9);
    expect(deviation).toBeLessThan(1e-9);
  });

  it('deviates where a band is slower, or later tokens are faster', () => {
    expect(fitCost(bands(position => (position === 350 ? 4 : 3))).deviation).toBeGreaterThan(0.2);
    expect(fitCost(bands(position => 3 - 0.001 * position)).deviation).toBeGreaterThan(0.1);
    expect(fitCost(bands(position => 3 - 0.001 * position)).perPosition).toBe(0);
  });

  it('is interpolated where several tokens come at once', () => {
    const progress = [
      [1, 100],
      [5, 108],
      [9, 116],
      [13, 128],
    ] as const;
    expect(bandsOf(progress, 2)).toEqual([
      { start: 1, end: 7, perToken: 2 },
      { start: 7, end: 13, perToken: 16 / 6 },
    ]);
  });

  it('is measured up to the context limit', async () => {
    const device = await openTestReference();
    const executor = await tinyRunner(device);
    const engine = new AsyncLLM({ executor, config: tinyConfig(), tokenizer: null, eosTokenIds: [] });
    const rows = await benchPositions(engine);
    await engine.dispose();
    expect(rows.map(({ name }) => name)).toContain(`positions.to${engine.limits.maxModelLen}`);
    // On a busy machine the line may cross zero anywhere.
    expect(rows.filter(({ value }) => !Number.isFinite(value))).toEqual([]);
    expect(rows.filter(({ name, value }) => name.startsWith('positions.to') && value <= 0)).toEqual([]);
    expect(rows.at(-1)).toMatchObject({ name: 'positions.deviation', unit: '%', limit: 10 });
  });
});
