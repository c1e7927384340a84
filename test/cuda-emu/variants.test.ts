/** Model variants on the emulated CUDA kernels, against test/oracles (float64 PyTorch). */
import type { Device } from '@quire/core/contract';
import { beforeAll, expect, it } from 'vitest';
import { logitsError, variants, variantsOn } from '../e2e/variant-logits.ts';
import { openTestCudaEmu } from '../support/devices.ts';

const names = variantsOn('cuda-emu');

let device: Device;
beforeAll(async () => {
  device = await openTestCudaEmu();
});

it('has all variants', () => {
  expect(variants.length).toBe(27);
});

it.each(names)('%s gives the logits of the oracle, whole and in chunks on small blocks', async variant => {
  expect(await logitsError(device, variant, {})).toBeLessThan(1e-5);
  expect(await logitsError(device, variant, { maxNumBatchedTokens: 7, blockSize: 4 })).toBeLessThan(1e-5);
});

/** In units of the dtype's roundoff: measured from 1.3 to 3.6 in both. */
it.each(names.flatMap(variant => [[variant, 'f16', 2 ** -11] as const, [variant, 'bf16', 2 ** -8] as const]))(
  '%s comes close to them in %s',
  async (variant, dtype, roundoff) => {
    const dtypes = { weights: dtype, activations: dtype, kvCache: dtype };
    const error = await logitsError(device, variant, { dtypes });
    expect(error).toBeLessThan(6 * roundoff);
    expect(error).toBeGreaterThan(roundoff / 2);
  },
);
