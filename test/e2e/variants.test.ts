/** Model variants that the bundled checkpoints do not have, against test/oracles (float64 PyTorch). */
import type { Device } from '@quire/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { casesOn, openTestDevice, openTestReference, openTestWebGpu, requiredDevices } from '../support/devices.ts';
import { logitsError, variants, variantsOn } from './variant-logits.ts';

/** What differs in parts: experts, biases, and tables that are shared with the head or not. */
const divided = ['gpt-neox-parallel', 'mixtral', 'opt-separate-head', 'qwen2-tied'];

describe.each(requiredDevices())('model variants on %s', name => {
  const names = variantsOn(name);
  let device: Device;
  let small: Device;
  beforeAll(async () => {
    device = await openTestDevice(name);
    // Room for 9 tokens of activations, 3 blocks of cache, and a part of each embedding table.
    small = await (name === 'webgpu' ? openTestWebGpu : openTestReference)({ maxTensorBytes: 4096 });
  });

  it.each(names)('%s gives the logits of the oracle', async variant => {
    expect(await logitsError(device, variant, {})).toBeLessThan(1e-5);
  });

  it.each(names)('%s gives them in chunks, on small blocks', async variant => {
    expect(await logitsError(device, variant, { maxNumBatchedTokens: 7, blockSize: 4 })).toBeLessThan(1e-5);
  });

  it.each(casesOn(name, names, divided))('%s gives them with weights and tables in row parts', async variant => {
    const options = { maxTokens: 12, maxNumBatchedTokens: 9, blockSize: 4 };
    expect(await logitsError(small, variant, options)).toBeLessThan(1e-5);
  });
});

it('has all variants', () => {
  expect(variants.length).toBe(27);
});
