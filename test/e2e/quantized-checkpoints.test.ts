/** Checkpoints as GPTQ, AWQ, compressed-tensors and fp8 publish them, against test/oracles/quantized_fixtures.py (float64 PyTorch). */
import type { Device } from '@quire/core/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LLM } from '../../packages/server/src/node/llm.ts';
import { openReferenceGroup } from '../../packages/server/src/node/reference-group.ts';
import { build } from '../server/build.ts';
import { openTestDevice, requiredDevices } from '../support/devices.ts';
import { quantizedCheckpoints, quantizedLogitsError, quantizedOn } from './quantized-logits.ts';

describe.each(requiredDevices())('quantised checkpoints on %s', name => {
  let device: Device;
  beforeAll(async () => {
    device = await openTestDevice(name);
  });

  it.each(quantizedOn(name))('%s gives the logits of what its codes stand for', async checkpoint => {
    const dtypes = { weights: 'f32', activations: 'f32', kvCache: 'f32' } as const;
    expect(await quantizedLogitsError(device, checkpoint, { dtypes })).toBeLessThan(1e-5);
  });

  /** What no dtype of few bits holds is rounded to 16 bits once: an error of 2^-12 or, beside biases in bf16, 2^-9 of each weight. */
  it.each(quantizedOn(name))('%s comes close to them with weights as they are', async checkpoint => {
    expect(await quantizedLogitsError(device, checkpoint, {})).toBeLessThan(0.01);
  });
});

describe('tensor parallelism', () => {
  let group: Device;
  beforeAll(async () => {
    await build();
    group = await openReferenceGroup({ tensorParallelSize: 2 });
  });
  afterAll(() => group.dispose());

  it.each(quantizedCheckpoints)('%s gives the same logits on two ranks', async checkpoint => {
    const dtypes = { weights: 'f32', activations: 'f32', kvCache: 'f32' } as const;
    expect(await quantizedLogitsError(group, checkpoint, { dtypes })).toBeLessThan(1e-5);
  });
});

it('an engine tells what of the scheme is not done, and refuses another', async () => {
  const options = { model: 'test/fixtures/quantized/w8a8-fp8', device: 'reference', skipTokenizerInit: true };
  const llm = new LLM({ ...options, quantization: 'compressed-tensors' });
  const { notices, runner } = await llm.load();
  expect(notices).toEqual([
    expect.stringContaining('activations keep their dtype'),
    expect.stringContaining('Weights in fp8 are held in 16 bits'),
  ]);
  expect(runner.dtypes.weights).toEqual(['bf16', 'f16']);
  await llm.dispose();
  const other = new LLM({ ...options, quantization: 'q8' });
  await expect(other.load()).rejects.toThrow(
    'quantization is q8, but the checkpoint is quantised with compressed-tensors',
  );
  await other.dispose();
});

it('has all checkpoints', () => {
  expect(quantizedCheckpoints.length).toBe(15);
});
