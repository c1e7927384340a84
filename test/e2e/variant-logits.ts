import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Device } from '@quire/core/contract';
import { expect } from 'vitest';
import { type DebugRunnerOptions, openDebugRunner } from '../../packages/core/src/worker/index.ts';
import type { TestDeviceName } from '../support/devices.ts';
import { openModel, relativeL2 } from './models.ts';

const folder = 'test/fixtures/models';
const root = join(import.meta.dirname, '../..');

/** Names of the small checkpoints of test/fixtures/models. */
export const variants = readdirSync(join(root, folder)).filter(name => !name.includes('.'));

/** Variants that differ from others in names, sizes and files only, not in what a device computes. */
const alike = [
  'gemma',
  'gpt2',
  'gpt2-sharded',
  'gpt-neox-serial',
  'phi3-long',
  'phi3-short',
  'qwen3-moe-shares',
  'smollm3',
];

/** The variants that run on a device: on the reference device, all do. */
export function variantsOn(device: TestDeviceName): string[] {
  if (device === 'reference') return variants;
  return variants.filter(name => !alike.includes(name));
}

interface Expected {
  tokenIds: number[];
  logits: number[][];
}

/** Relative L2 error of a variant's logits, all positions, against the oracle's. */
export function logitsError(device: Device, variant: string, options: Partial<DebugRunnerOptions>): Promise<number> {
  return fixtureLogitsError(device, `${folder}/${variant}`, options);
}

/** The same of a model folder with a logits.json. */
export async function fixtureLogitsError(
  device: Device,
  path: string,
  options: Partial<DebugRunnerOptions>,
): Promise<number> {
  const expected: Expected = JSON.parse(readFileSync(join(root, path, 'logits.json'), 'utf8'));
  const maxTokens = options.maxTokens ?? expected.tokenIds.length;
  const { source, ...model } = await openModel(path);
  const opening = openDebugRunner({ device, ...model, ...options, maxTokens });
  const runner = await opening.finally(() => source.close());
  const found = await runner.forwardLogits(expected.tokenIds.slice(0, maxTokens));
  expect(found.length).toBe(maxTokens * model.modelConfig.vocabSize);
  runner.dispose();
  return relativeL2(found, expected.logits.slice(0, maxTokens).flat());
}
