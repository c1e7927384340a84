/** Model variants on the emulated CUDA kernels, against test/oracles (float64 PyTorch). */
import type { Device } from '@quire/core/contract';
import { beforeAll, expect, it } from 'vitest';
import { logitsError, variants } from '../e2e/variant-logits.ts';
import { openTestCudaEmu } from '../support/devices.ts';

let device: Device;
beforeAll(async () => {
  device = await openTestCudaEmu();
});

it('has all variants', () => {
  expect(variants.length).toBe(11);
});

it.each(variants)('%s gives the logits of the oracle, whole and in chunks on small blocks', async variant => {
  expect(await logitsError(device, variant, {})).toBeLessThan(1e-5);
  expect(await logitsError(device, variant, { maxNumBatchedTokens: 7, blockSize: 4 })).toBeLessThan(1e-5);
});

/** Roundoff of bf16 is 2^-8; logits of two layers are measured at up to 6 of it. */
it.each(variants)('%s comes close to them in bf16', async variant => {
  const dtypes = { weights: 'bf16', activations: 'bf16', kvCache: 'bf16' } as const;
  const error = await logitsError(device, variant, { dtypes });
  expect(error).toBeLessThan(8 * 2 ** -8);
  expect(error).toBeGreaterThan(2 ** -10);
});
