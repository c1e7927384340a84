/** Where the demo draws its tiles: whole pixels, apart from each other, and found again by their place. */
import { expect, it } from 'vitest';
import { TileGrid } from '../../../packages/demo/src/views/tile-grid.ts';

it.each([
  [496, 214, 1, 128],
  [372, 340, 2, 33],
  [496, 214, 1.25, 512],
  [496, 214, 1, 20_000],
  [100, 60, 1, 1],
])('fits %i x %i pixels at ratio %f with %i blocks', (width, height, ratio, count) => {
  const grid = new TileGrid(width, height, ratio, count);
  const isRight = (block: number) => {
    const [x, y] = [grid.x(block), grid.y(block)];
    const isWhole = [x, y, grid.size].every(Number.isInteger);
    const isInside = x >= 0 && y >= 0 && x + grid.size <= width && y + grid.size <= height;
    return isWhole && isInside && grid.blockAt(x + grid.size / 2, y + grid.size / 2) === block;
  };
  const blocks = Array.from({ length: count }, (_, i) => i + 1);
  expect(blocks.filter(block => !isRight(block))).toEqual([]);
  expect(grid.blockAt(width, height)).toBe(null);
});

it('has tiles of any size where there is no room for one pixel each, and none on no surface', () => {
  expect(new TileGrid(40, 20, 1, 100_000).size).toBeGreaterThan(0);
  expect(new TileGrid(0, 0, 1, 8).blockAt(0, 0)).toBe(null);
});
