/** Weights in few bits: rows that keep their bits whatever their batch. */
import type { EmulatedChip } from '@quire/backend-cuda';
import { type FloatDType, type QuantDType, quantDTypes } from '@quire/core/contract';
import { encodeFloats, ProgramBuilder, quantizeRows } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { openTestCudaEmu } from '../support/devices.ts';
import { createTensor, noSizes } from './fixtures.ts';

const [k, n] = [640, 70];

/** Numbers that depend on their place alone. */
function numbers(count: number, salt: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + salt) * (i % 17 === 0 ? 4 : 1));
}

/** Bits of x weight^T, for the first `rows` of the same rows of x, on a chip. */
async function product(weights: QuantDType, activations: FloatDType, rows: number, chip: EmulatedChip) {
  const device = await openTestCudaEmu({ chip });
  const builder = new ProgramBuilder('product', noSizes);
  builder.external('x', activations, [rows, k]);
  builder.external('weight', weights, [n, k]);
  builder.external('out', 'f32', [rows, n]);
  builder.add({ op: 'linear', x: 'x', weight: 'weight', out: 'out', activation: 'none', outColumn: 0 });
  const x = createTensor(device, 'x', [rows, k], { dtype: activations });
  const weight = createTensor(device, 'weight', [n, k], { dtype: weights });
  const out = createTensor(device, 'out', [rows, n]);
  device.write(x, encodeFloats(activations, numbers(rows * k, 1)));
  device.write(weight, quantizeRows(weights, numbers(n * k, 2), k));
  const executable = await device.compile(builder.build(), { x, weight, out });
  device.submit([{ executable, sizes: noSizes }]);
  const found = new Float32Array(rows * n);
  await device.read(out, 0, found);
  await device.dispose();
  return new Uint32Array(found.buffer);
}

describe('weights in few bits', () => {
  it.each(
    quantDTypes.flatMap(weights => (['f32', 'bf16'] as const).map(activations => [weights, activations] as const)),
  )('%s with %s: rows keep their bits at any number of rows, on any chip', async (weights, activations) => {
    const most = await product(weights, activations, 68, { smCount: 1, blocksPerSm: 1, order: 'forward', seed: 0 });
    for (const [rows, smCount] of [
      [1, 1],
      [2, 132],
      [7, 3],
      [16, 132],
      [30, 3],
      [64, 1],
      [64, 132],
      // Large tiles above; small ones, and none.
      [68, 3],
      [68, 132],
    ] as const) {
      const some = await product(weights, activations, rows, { smCount, blocksPerSm: 2, order: 'shuffled', seed: 5 });
      expect(some, `${rows} rows on ${smCount} SMs`).toEqual(most.subarray(0, rows * n));
    }
  });
});
