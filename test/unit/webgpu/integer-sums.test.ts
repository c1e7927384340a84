/** Sums of integers have no digits for what is no number: it must reach the logits all the same, whose rows are then refused. */
import { noSizes, quantizeRows } from '@quire/core/program';
import { expect, it } from 'vitest';
import { compileOp, floatTensor, noise, openWebGpu, readFloats } from './fixtures.ts';

const [ROWS, DEPTH, COLUMNS] = [3, 64, 5];

it.each(['q8', 'q4_32'] as const)('NaN and infinity in a row reach its outputs, over %s weights', async dtype => {
  const device = await openWebGpu({ lanes: 'integers' });
  const values = noise(ROWS * DEPTH);
  values[5] = Number.NaN;
  values[DEPTH + 40] = Number.POSITIVE_INFINITY;
  const x = floatTensor(device, 'x', values, [ROWS, DEPTH]);
  const out = floatTensor(device, 'out', new Array(ROWS * COLUMNS).fill(0), [ROWS, COLUMNS]);
  const weight = device.createTensor({ name: 'weight', dtype, shape: [COLUMNS, DEPTH], usage: 'weight' });
  device.write(weight, quantizeRows(dtype, Float32Array.from(noise(COLUMNS * DEPTH, 3)), DEPTH));
  const op = { op: 'linear', x: 'x', weight: 'weight', out: 'out', activation: 'none', outColumn: 0 } as const;
  const executable = await compileOp(device, op, { x, weight, out });
  device.submit([{ executable, sizes: noSizes }]);
  const found = await readFloats(device, out);
  expect(found.map(Number.isFinite)).toEqual([...new Array(2 * COLUMNS).fill(false), ...new Array(COLUMNS).fill(true)]);
});
