/** A workload larger than the cache, with and without host memory behind it. */
import type { StepReport } from '@quire/core';
import { expect, test } from 'vitest';
import { openTestDevice, requiredDevices } from '../../support/devices.ts';
import { tinyEngine } from '../../support/tiny-engine.ts';
import { drain, prompt, tokensOf } from './helpers.ts';

const USERS = 5;
const TURNS = 2;
/** 2 layers of K and V, 2 heads, 4 slots, 8 dimensions, 4 bytes. */
const BLOCK_BYTES = 2 * 2 * 2 * 4 * 8 * 4;

/** Each user comes back when the blocks of the turn before have been handed out to others. */
async function converse(name: (typeof devices)[number], hostBlocks: number) {
  const device = await openTestDevice(name);
  let computed = 0;
  const observer = { onStep: ({ numTokens, times }: StepReport) => (computed += numTokens * times) };
  const options = { numGpuBlocksOverride: 22, maxModelLen: 64, swapSpace: (hostBlocks * BLOCK_BYTES) / 2 ** 30 };
  const engine = await tinyEngine(device, options, { observer });
  const outputs: number[][] = [];
  const histories = Array.from({ length: USERS }, (_, user) => prompt(20, user));
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [user, history] of histories.entries()) {
      const group = engine.add(history, { temperature: 0, maxTokens: 4, ignoreEos: true });
      await drain(engine);
      outputs.push(tokensOf(group));
      histories[user] = [...history, ...tokensOf(group), 7 + turn];
    }
  }
  const { hostTierBytes } = engine.stats();
  await engine.dispose();
  await device.dispose();
  return { outputs, computed, hostTierBytes };
}

const devices = requiredDevices();

test.each(devices)(
  'on %s, host memory saves at least half of what would be recomputed',
  async name => {
    const without = await converse(name, 0);
    const with_ = await converse(name, 200);
    expect(with_.outputs).toEqual(without.outputs);
    // New in every turn: the prompt or the user's token, and the output.
    const once = USERS * (20 + 4 + (TURNS - 1) * 5);
    const [recomputed, baseline] = [with_.computed - once, without.computed - once];
    const { toHost, toDevice } = with_.hostTierBytes;
    console.log(
      `${name}: ${recomputed} of ${baseline} tokens recomputed, ${toHost} bytes to the host, ${toDevice} bytes back`,
    );
    expect(baseline).toBeGreaterThan(60);
    expect(recomputed).toBeLessThanOrEqual(baseline / 2);
    expect(toDevice % BLOCK_BYTES).toBe(0);
    expect(Math.min(toHost, toDevice)).toBeGreaterThan(0);
  },
  120_000,
);
