/** Model variants that the bundled checkpoints do not have, against test/oracles (float64 PyTorch). */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Device } from '@quire/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { type DebugRunnerOptions, openDebugRunner } from '../../packages/core/src/worker/index.ts';
import { openTestDevice, openTestReference, openTestWebGpu, requiredDevices } from '../support/devices.ts';
import { openModel, relativeL2 } from './models.ts';

const folder = 'test/fixtures/models';
const root = join(import.meta.dirname, '../..');
const variants = readdirSync(join(root, folder)).filter(name => !name.includes('.'));

interface Expected {
  tokenIds: number[];
  logits: number[][];
}

describe.each(requiredDevices())('model variants on %s', name => {
  let device: Device;
  let small: Device;
  beforeAll(async () => {
    device = await openTestDevice(name);
    // Room for 9 tokens of activations, 3 blocks of cache, and a part of each embedding table.
    small = await (name === 'webgpu' ? openTestWebGpu : openTestReference)({ maxTensorBytes: 4096 });
  });

  it.each(variants)('%s gives the logits of the oracle', async variant => {
    expect(await logitsError(device, variant, {})).toBeLessThan(1e-5);
  });

  it.each(variants)('%s gives them in chunks, on small blocks', async variant => {
    expect(await logitsError(device, variant, { maxNumBatchedTokens: 7, blockSize: 4 })).toBeLessThan(1e-5);
  });

  it.each(variants)('%s gives them with weights and tables in row parts', async variant => {
    const options = { maxTokens: 12, maxNumBatchedTokens: 9, blockSize: 4 };
    expect(await logitsError(small, variant, options)).toBeLessThan(1e-5);
  });
});

it('has all variants', () => {
  expect(variants.length).toBe(11);
});

async function logitsError(device: Device, variant: string, options: Partial<DebugRunnerOptions>): Promise<number> {
  const expected: Expected = JSON.parse(readFileSync(join(root, folder, variant, 'logits.json'), 'utf8'));
  const maxTokens = options.maxTokens ?? expected.tokenIds.length;
  const { source, ...model } = await openModel(`${folder}/${variant}`);
  const opening = openDebugRunner({ device, ...model, ...options, maxTokens });
  const runner = await opening.finally(() => source.close());
  const found = await runner.forwardLogits(expected.tokenIds.slice(0, maxTokens));
  expect(found.length).toBe(maxTokens * model.modelConfig.vocabSize);
  runner.dispose();
  return relativeL2(found, expected.logits.slice(0, maxTokens).flat());
}
