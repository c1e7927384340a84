import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Device } from '@quire/core/contract';
import type { DebugRunnerOptions } from '../../packages/core/src/worker/index.ts';
import { fullEndToEnd, type TestDeviceName } from '../support/devices.ts';
import { fixtureLogitsError } from './variant-logits.ts';

const folder = 'test/fixtures/quantized';

/** Names of the small checkpoints of test/fixtures/quantized. */
export const quantizedCheckpoints = readdirSync(join(import.meta.dirname, '../..', folder)).filter(
  name => !name.includes('.'),
);

/** One of each dtype on the device, and one that has none. */
const oneOfEach = ['awq-32', 'gptq-4bit-32-desc-act-v2', 'w4a16-128', 'w8a8-int8'];

/** The checkpoints that run on a device: how they are read is the same on all, and an adapter in software has time for a part. */
export function quantizedOn(device: TestDeviceName): string[] {
  return device === 'webgpu' && !fullEndToEnd ? oneOfEach : quantizedCheckpoints;
}

/** Relative L2 error of a checkpoint's logits, all positions, against the oracle's. */
export function quantizedLogitsError(
  device: Device,
  checkpoint: string,
  options: Partial<DebugRunnerOptions>,
): Promise<number> {
  return fixtureLogitsError(device, `${folder}/${checkpoint}`, options);
}
