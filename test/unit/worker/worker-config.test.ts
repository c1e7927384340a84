import type { Device, DeviceInfo } from '@quire/core/contract';
import { openReferenceDevice } from '@quire/core/reference';
import { beforeAll, describe, expect, it } from 'vitest';
import { stepBudgets, type WorkerConfig, wantedModelLen } from '../../../packages/core/src/worker/worker-config.ts';
import { llamaConfig } from '../models/configs.ts';

const config: WorkerConfig = {
  dtype: 'auto',
  seed: 0n,
  maxModelLen: null,
  blockSize: 16,
  maxNumSeqs: 256,
  maxNumBatchedTokens: 2048,
  kvCacheDtype: 'auto',
  kvCacheMemoryBytes: null,
  numGpuBlocksOverride: null,
  maxLogprobs: 20,
  runAhead: 2,
  numSchedulerSteps: 4,
};
let info: DeviceInfo;
beforeAll(async () => {
  info = (await openReferenceDevice()).info;
});
const withInfo = (changes: Partial<DeviceInfo>) => ({ info: { ...info, ...changes } }) as Device;

describe('wantedModelLen', () => {
  it('goes as far as rotary positions are scaled, and no further', () => {
    const scalings = {
      none: [{ type: 'none' }, 64],
      linear: [{ type: 'linear', factor: 2 }, 128],
      dynamic: [{ type: 'dynamic', factor: 3, originalMaxPositions: 64 }, 192],
      yarn: [{ ...yarn, factor: 4, originalMaxPositions: 32 }, 128],
      'yarn of a longer original': [{ ...yarn, factor: 1.5, originalMaxPositions: 64 }, 96],
    } as const;
    for (const [name, [scaling, longest]] of Object.entries(scalings)) {
      const model = llamaConfig({ rope: { theta: 10_000, rotaryDim: 8, scaling } });
      expect(wantedModelLen({ ...config, maxModelLen: longest }, model), name).toEqual({ length: longest, fit: false });
      expect(() => wantedModelLen({ ...config, maxModelLen: longest + 1 }, model), name).toThrow(
        `the model knows ${longest} positions`,
      );
    }
  });
});

const yarn = { type: 'yarn', betaFast: 32, betaSlow: 1, truncate: true, attentionFactor: 1.1 } as const;

describe('stepBudgets', () => {
  const budgets = (changes: Partial<WorkerConfig>, maxTensorBytes = 2 ** 27) =>
    stepBudgets({ ...config, ...changes }, llamaConfig(), withInfo({ limits: { maxTensorBytes } }), 64);

  it('keeps what fits, with a ring for the steps in flight and their repeats', () => {
    expect(budgets({})).toEqual({
      maxLogprobs: 20,
      maxNumBatchedTokens: 2048,
      maxNumSeqs: 256,
      maxSamples: 256,
      ringSlots: 16,
    });
    expect(budgets({ runAhead: 7, numSchedulerSteps: 8 }).ringSlots).toBe(64);
    expect(budgets({ maxLogprobs: -1 }).maxLogprobs).toBe(96);
  });

  it('never has more sequences than tokens, or tokens than all requests can have', () => {
    expect(budgets({ maxNumBatchedTokens: 8 })).toMatchObject({ maxNumSeqs: 8, maxSamples: 8 });
    expect(budgets({ maxNumSeqs: 2 })).toMatchObject({ maxNumBatchedTokens: 128, maxSamples: 64 });
  });

  it('refuses a device that cannot bind one row of everything', () => {
    expect(() => budgets({}, 4095)).toThrow(/at most 4095 bytes at once, too few .* a request's state \(4096 bytes\)/);
  });
});
