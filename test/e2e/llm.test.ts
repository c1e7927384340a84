/** The library end to end: text in, text out, against the golden outputs; and the prefix cache on a real model. */
import { join } from 'node:path';
import { LLM, type LLMOptions, type ModelRunner } from '@quire/core';
import { describe, expect, it } from 'vitest';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { casesOn, endToEndDevices, openTestDevice, type TestDeviceName } from '../support/devices.ts';
import { goldenCases } from './models.ts';

const root = join(import.meta.dirname, '../..');

async function openLLM(device: TestDeviceName, folder: string, options: Partial<LLMOptions> = {}): Promise<LLM> {
  const limits = { maxNumSeqs: 8, maxNumBatchedTokens: 128, kvCacheDtype: 'float32', numGpuBlocksOverride: 120 };
  const runtime = {
    openDevice: () => Promise.reject(new Error('The test opens its own device.')),
    openSource: (location: string) => openFolderSource(join(root, location)),
  };
  return new LLM({ model: folder, device: await openTestDevice(device), ...limits, ...options }, runtime);
}

describe.each(endToEndDevices())('LLM on %s', name => {
  // golden.test.ts has the tokens of both on every device.
  it.each(casesOn(name, ['models/tiny-llama', 'models/tiny-opt'], ['models/tiny-opt']))(
    'gives the golden texts and log-probabilities: %s',
    async folder => {
      await using llm = await openLLM(name, folder);
      const cases = goldenCases(folder);
      const outputs = await llm.generate(
        cases.map(golden => golden.prompt),
        cases.map(({ maxTokens }) => ({ temperature: 0, maxTokens, logprobs: 1, promptLogprobs: 0 })),
      );
      cases.forEach((golden, index) => {
        const { promptTokenIds, promptLogprobs, outputs: completions } = outputs[index]!;
        const { text, tokenIds, logprobs, finishReason } = completions[0]!;
        expect(promptTokenIds, golden.name).toEqual(golden.promptTokenIds);
        expect({ text, tokenIds, finishReason }, golden.name).toEqual({
          text: golden.text,
          tokenIds: golden.tokenIds,
          finishReason: golden.finishReason,
        });
        golden.tokenLogprobs.forEach((expected, i) => {
          expect(logprobs![i]!.logprob).toBeCloseTo(expected, 3);
          expect(logprobs![i]!.top[0]!.tokenId).toBe(golden.tokenIds[i]);
        });
        golden.promptLogprobs.forEach((expected, i) => {
          if (expected === null) expect(promptLogprobs![i]).toBeNull();
          else expect(promptLogprobs![i]!.logprob).toBeCloseTo(expected, 3);
        });
      });
    },
  );

  it('takes blocks of any number of tokens', async () => {
    await using llm = await openLLM(name, 'models/tiny-llama', { blockSize: 3, numGpuBlocksOverride: 400 });
    const cases = goldenCases('models/tiny-llama').slice(1, 4);
    const outputs = await llm.generate(
      cases.map(({ promptTokenIds }) => ({ promptTokenIds })),
      { temperature: 0, maxTokens: 12 },
    );
    cases.forEach(({ tokenIds, name: golden }, i) => {
      expect(outputs[i]!.outputs[0]!.tokenIds, golden).toEqual(tokenIds.slice(0, 12));
    });
  });

  // On a software GPU batch-invariance.test.ts has it too: hits give the logits of a request alone.
  it.each(casesOn(name, ['models/tiny-llama'], []))(
    'computes only the rest of a prompt whose prefix is cached: %s',
    async folder => {
      await using llm = await openLLM(name, folder);
      const prefix = Array.from({ length: 200 }, (_, i) => 260 + ((i * 37) % 500));
      const ask = async (tail: number[]) =>
        (
          await llm.generate(
            { promptTokenIds: [...prefix, ...tail] },
            { temperature: 0, maxTokens: 4, ignoreEos: true },
          )
        )[0]!;
      const computed = countTokens((await llm.load()).runner);
      const first = await ask([300, 301]);
      expect(first.numCachedTokens).toBe(0);
      expect(computed()).toBeGreaterThanOrEqual(202 + 3);
      const second = await ask([400, 401, 402]);
      // 12 whole blocks of 16 tokens. Beside the rest of the prompt, three or a few more tokens are decoded.
      expect(second.numCachedTokens).toBe(192);
      const rest = computed();
      expect(rest).toBeGreaterThanOrEqual(11 + 3);
      expect(rest).toBeLessThan(11 + 3 + 16);

      await using fresh = await openLLM(name, folder, { enablePrefixCaching: false });
      const alone = await fresh.generate(
        { promptTokenIds: second.promptTokenIds },
        { temperature: 0, maxTokens: 4, ignoreEos: true },
      );
      expect(alone[0]!.numCachedTokens).toBe(0);
      expect(second.outputs[0]!.tokenIds).toEqual(alone[0]!.outputs[0]!.tokenIds);
    },
  );
});

/** Counts the tokens that a runner is told to compute, since the last call of what it returns. */
function countTokens(runner: ModelRunner): () => number {
  const submit = runner.submit.bind(runner);
  let count = 0;
  runner.submit = step => {
    for (let i = 0; i < step.numSequences; i++) count += step.queryLens[i]! * step.times;
    return submit(step);
  };
  return () => {
    const counted = count;
    count = 0;
    return counted;
  };
}
