import { openReferenceDevice } from '@quire/core/reference';
import { expect, it } from 'vitest';
import { createModelRunner, openDebugRunner } from '../../../packages/core/src/worker/index.ts';
import { llamaConfig } from '../models/configs.ts';
import { completeTensors, fakeCheckpoint } from '../models/fake-checkpoint.ts';
import { newRow, prefillStep } from './steps.ts';

const modelConfig = llamaConfig({ dtype: 'f32' });

/** Weights small enough that activations stay finite. */
function checkpoint() {
  const tensors = completeTensors(modelConfig, 'model.');
  for (const { values } of Object.values(tensors)) {
    for (let i = 0; i < values.length; i++) values[i] = ((values[i]! * 37) % 101) / 101 - 0.5;
  }
  return fakeCheckpoint(tensors, 4096);
}

const tokenIds = [3, 90, 17, 17, 2, 55, 8];

it('computes the logits of every position, the same in chunks', async () => {
  const device = await openReferenceDevice();
  const whole = await openDebugRunner({ device, modelConfig, checkpoint: checkpoint(), maxTokens: 16, keepAll: true });
  const logits = await whole.forwardLogits(tokenIds);
  expect(logits.length).toBe(tokenIds.length * 96);
  expect(new Set(logits).size).toBeGreaterThan(300);
  const options = { maxTokens: 16, maxNumBatchedTokens: 3, blockSize: 2 };
  const chunked = await openDebugRunner({ device, modelConfig, checkpoint: checkpoint(), ...options });
  expect(await chunked.forwardLogits(tokenIds)).toEqual(logits);
  expect(await chunked.forwardLogits(tokenIds.slice(0, 4))).toEqual(logits.slice(0, 4 * 96));

  // keepAll: what the head reads is what its own weights turn into logits.
  const hidden = new Float32Array(7 * 32);
  await device.read(whole.executable.tensor('finalNorm'), 0, hidden);
  const { values } = completeTensors(modelConfig, 'model.')['model.embed_tokens.weight']!;
  const row = values.slice(0, 32).map(value => ((value * 37) % 101) / 101 - 0.5);
  const expected = row.reduce((sum, weight, i) => sum + weight * hidden[6 * 32 + i]!, 0);
  expect(logits[6 * 96]).toBeCloseTo(expected, 5);

  await expect(whole.forwardLogits(new Array(17).fill(1))).rejects.toThrow('17 tokens are more than the 16');
  whole.dispose();
  chunked.dispose();
  expect(device.allocatedBytes()).toBe(0);
});

it('agrees with what the runner samples', async () => {
  const device = await openReferenceDevice();
  const debug = await openDebugRunner({ device, modelConfig, checkpoint: checkpoint(), maxTokens: 16 });
  const last = (await debug.forwardLogits(tokenIds)).subarray(-96);
  debug.dispose();
  const engineConfig = {
    dtype: 'auto',
    seed: 0n,
    maxModelLen: 32,
    blockSize: 4,
    maxNumSeqs: 2,
    maxNumBatchedTokens: 16,
    kvCacheDtype: 'f32',
    kvCacheMemoryBytes: null,
    numGpuBlocksOverride: 16,
    maxLogprobs: 5,
    runAhead: 1,
    numSchedulerSteps: 1,
  } as const;
  const runner = await createModelRunner({ device, modelConfig, engineConfig, checkpoint: checkpoint() });
  const step = prefillStep([newRow(1, tokenIds, 20)], [{ row: 1, start: 0, blocks: [3, 1, 2] }]);
  const { tokenIds: sampled } = await runner.submit(step);
  expect(sampled[0]).toBe(last.indexOf(Math.max(...last)));
  await runner.dispose();
});
