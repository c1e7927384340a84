/** GPUDevice.destroy under a running engine. QUIRE_DEVICE_LOSSES=50 npm run test:device-loss is the long run. */
import type { LLMEngine } from '@quire/core';
import type { Device } from '@quire/core/contract';
import { expect, it } from 'vitest';
import { tinyEngine, tinyRunner } from '../../support/tiny-engine.ts';
import { prompt, tokensOf } from '../engine/helpers.ts';
import { openWithGpu } from './fixtures.ts';

const LOSSES = Number(process.env.QUIRE_DEVICE_LOSSES ?? 2);
const REQUESTS = 4;
const TOKENS = 24;

/** Runs requests, each for itself a greedy loop, and calls `disturb` after every third step. */
async function run(engine: LLMEngine, disturb: () => void): Promise<number[][]> {
  const groups = Array.from({ length: REQUESTS }, (_, i) =>
    engine.add(prompt(5 + 3 * i, i), { temperature: 0, maxTokens: TOKENS, ignoreEos: true }),
  );
  for (let step = 1; engine.hasUnfinished; step++) {
    await engine.step();
    if (step % 3 === 0) disturb();
  }
  return groups.map(group => tokensOf(group));
}

it(
  `loses no request and changes no output when the device is destroyed ${LOSSES} times`,
  async () => {
    const devices: { device: Device; gpuDevice: GPUDevice }[] = [];
    const open = async () => {
      devices.push(await openWithGpu());
      return devices.at(-1)!.device;
    };
    const options = { maxNumSeqs: 4, numSchedulerSteps: 1 };
    const quiet = await tinyEngine(await open(), options);
    const expected = await run(quiet, () => {});
    await quiet.dispose();

    // A loss that comes when nothing is left to compute needs no recovery, and does not count.
    let recoveries = 0;
    while (recoveries < LOSSES) {
      const engine = await tinyEngine(await open(), options, {
        reopen: async () => tinyRunner(await open(), options),
      });
      const found = await run(engine, () => {
        if (recoveries + engine.stats().numRecoveries < LOSSES) devices.at(-1)!.gpuDevice.destroy();
      });
      expect(found).toEqual(expected);
      recoveries += engine.stats().numRecoveries;
      await engine.dispose();
    }
    expect(recoveries).toBe(LOSSES);
    for (const { device } of devices) {
      await device.dispose();
      expect(device.allocatedBytes()).toBe(0);
    }
  },
  30_000 + 20_000 * LOSSES,
);
