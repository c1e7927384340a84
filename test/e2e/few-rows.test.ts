/**
 * Steps of few rows as a GPU computes them, on the test's adapter: layers take in their norms, and attention over long contexts is split.
 */
import { join } from 'node:path';
import { LLM } from '@quire/core';
import type { Device } from '@quire/core/contract';
import { describe, expect, it } from 'vitest';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { openTestReference, openTestWebGpu, requiredDevices } from '../support/devices.ts';
import { goldenCases } from './models.ts';

const model = 'models/tiny-llama';
const cases = goldenCases(model);

interface Completion {
  readonly tokenIds: readonly number[];
  readonly tokenLogprobs: readonly number[];
}

/** Greedy completions of prompts that run together. */
async function generate(device: Device, prompts: readonly (readonly number[])[], maxTokens: number) {
  const runtime = {
    openDevice: () => Promise.reject(new Error('The test opens its own device.')),
    openSource: (location: string) => openFolderSource(join(import.meta.dirname, '../..', location)),
  };
  const limits = { maxNumSeqs: 4, kvCacheDtype: 'float32', numGpuBlocksOverride: 120 };
  await using llm = new LLM({ model, device, ...limits }, runtime);
  const sampling = { temperature: 0, maxTokens, logprobs: 0 };
  const outputs = await llm.generate(
    prompts.map(promptTokenIds => ({ promptTokenIds: [...promptTokenIds] })),
    sampling,
  );
  return outputs.map(({ outputs: [completion] }): Completion => {
    const { tokenIds, logprobs } = completion!;
    return { tokenIds, tokenLogprobs: logprobs!.map(({ logprob }) => logprob) };
  });
}

function expectClose(found: Completion, expected: Completion): void {
  expect(found.tokenIds).toEqual(expected.tokenIds.slice(0, found.tokenIds.length));
  found.tokenLogprobs.forEach((value, i) => {
    expect(Math.abs(value - expected.tokenLogprobs[i]!)).toBeLessThan(1e-4);
  });
}

/** Tokens of the golden cases from the `first`-th on, one after the other. */
function longPrompt(first: number, length: number): number[] {
  const texts = cases.slice(first).flatMap(({ promptTokenIds, tokenIds }) => [...promptTokenIds, ...tokenIds]);
  return texts.slice(0, length);
}

describe.runIf(requiredDevices().includes('webgpu'))('few rows on webgpu', () => {
  it('give the golden tokens', async () => {
    const device = await openTestWebGpu({ lanes: 'subgroup' });
    const some = cases.slice(0, 3);
    const outputs = await generate(
      device,
      some.map(({ promptTokenIds }) => promptTokenIds),
      24,
    );
    some.forEach((golden, i) => {
      expect(outputs[i]!.tokenIds.length).toBe(24);
      expectClose(outputs[i]!, golden);
    });
    const normed = device.dispatchedVariants().filter(name => name.includes('input_normed'));
    expect(new Set(normed.map(name => name.split('/')[0]))).toEqual(new Set(['linear', 'gated_linear']));
  });

  it('give the tokens of the reference device behind prompts of more than a segment', async () => {
    const device = await openTestWebGpu({ lanes: 'subgroup' });
    const prompts = [longPrompt(0, 252), longPrompt(3, 380)];
    const outputs = await generate(device, prompts, 12);
    const expected = await generate(await openTestReference(), prompts, 12);
    outputs.forEach((output, i) => {
      expect(output.tokenIds.length).toBe(expected[i]!.tokenIds.length);
      expectClose(output, expected[i]!);
    });
    expect(device.dispatchedVariants().filter(name => /attention\/(split|join)/.test(name))).toHaveLength(2);
  });
});
