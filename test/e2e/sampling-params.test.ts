/** The effect of sampling parameters that the host takes part in, end to end on a trained model. */
import { join } from 'node:path';
import {
  EngineError,
  InvalidRequestError,
  LLM,
  type LLMOptions,
  type RequestOutput,
  type SamplingParams,
} from '@quire/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { endToEndDevices, openTestDevice, type TestDeviceName } from '../support/devices.ts';

const folder = join(import.meta.dirname, '../../models/tiny-llama');
const VOCAB = 1024;
const prompt = 'Once upon a time';
const greedy = { temperature: 0, maxTokens: 12, ignoreEos: true } as const;

async function openLLM(device: TestDeviceName, options: Partial<LLMOptions> = {}): Promise<LLM> {
  const limits = { maxNumSeqs: 8, maxNumBatchedTokens: 128, numGpuBlocksOverride: 120, maxLogprobs: -1 };
  const runtime = {
    openDevice: () => Promise.reject(new Error('The test opens its own device.')),
    openSource: openFolderSource,
  };
  return new LLM({ model: folder, device: await openTestDevice(device), ...limits, ...options }, runtime);
}

describe.each(endToEndDevices())('sampling parameters on %s', name => {
  let llm: LLM;
  let plain: RequestOutput['outputs'][number];
  beforeAll(async () => {
    llm = await openLLM(name);
    plain = await one({ ...greedy, logprobs: -1 });
  });
  afterAll(() => llm.dispose());

  async function one(params: SamplingParams) {
    const [output] = await llm.generate(prompt, params);
    if (output!.error !== null) throw output!.error;
    return output!.outputs[0]!;
  }

  it('allowed_token_ids: the likeliest of them is chosen, at every position', async () => {
    const allowed = new Set(Array.from({ length: VOCAB / 7 }, (_, i) => 7 * i));
    const { tokenIds, logprobs } = await one({ ...greedy, allowedTokenIds: [...allowed], logprobs: -1 });
    expect(tokenIds).toHaveLength(12);
    tokenIds.forEach((id, i) => {
      expect(id).toBe(logprobs![i]!.top.find(({ tokenId }) => allowed.has(tokenId))!.tokenId);
    });
    const single = await one({ ...greedy, temperature: 1.5, allowedTokenIds: [300] });
    expect(single.tokenIds).toEqual(Array(12).fill(300));
  });

  it('bad_words: a word of one token is banned everywhere', async () => {
    const tokenizer = await llm.tokenizer();
    const word = tokenizer.decode([plain.tokenIds[2]!]);
    expect(tokenizer.encode(` ${word.trim()}`, { addSpecialTokens: false })).toEqual([plain.tokenIds[2]]);
    const { tokenIds, logprobs } = await one({ ...greedy, badWords: [word.trim()], logprobs: -1 });
    expect(tokenIds.slice(0, 2)).toEqual(plain.tokenIds.slice(0, 2));
    expect(tokenIds).not.toContain(plain.tokenIds[2]);
    expect(tokenIds[2]).toBe(logprobs![2]!.top[1]!.tokenId);
  });

  it('bad_words: of a longer word only the last token is banned, and only after the others', async () => {
    const tokenizer = await llm.tokenizer();
    const word = tokenizer.decode(plain.tokenIds.slice(3, 6));
    expect(tokenizer.encode(` ${word.trim()}`, { addSpecialTokens: false })).toEqual(plain.tokenIds.slice(3, 6));
    const { tokenIds, logprobs, text } = await one({ ...greedy, badWords: [word], logprobs: -1 });
    expect(tokenIds.slice(0, 5)).toEqual(plain.tokenIds.slice(0, 5));
    expect(tokenIds[5]).toBe(logprobs![5]!.top[1]!.tokenId);
    expect(text).not.toContain(word);
    // The prompt does not count as output: a word that it would complete is not banned.
    const first = tokenizer.encode(prompt, { addSpecialTokens: false }).at(-1)!;
    const across = tokenizer.decode([first, plain.tokenIds[0]!]).trim();
    expect((await one({ ...greedy, badWords: [across] })).tokenIds.slice(0, 3)).toEqual(plain.tokenIds.slice(0, 3));
  });

  it('logprob_token_ids: exactly these, with their ranks, of the logits before any processor', async () => {
    const listed = [5, 900, 17, 300];
    const all = await one({ ...greedy, logprobs: -1, repetitionPenalty: 1.3 });
    const { tokenIds, logprobs, cumulativeLogprob } = await one({
      ...greedy,
      logprobTokenIds: listed,
      repetitionPenalty: 1.3,
    });
    expect(tokenIds).toEqual(all.tokenIds);
    logprobs!.forEach(({ tokenId, logprob, rank, top }, i) => {
      const expected = all.logprobs![i]!;
      expect([tokenId, rank]).toEqual([expected.tokenId, expected.rank]);
      expect(logprob).toBeCloseTo(expected.logprob, 4);
      expect(top.map(entry => entry.tokenId)).toEqual(listed);
      for (const entry of top) {
        const other = expected.top.find(candidate => candidate.tokenId === entry.tokenId)!;
        expect(entry.rank).toBe(other.rank);
        expect(entry.logprob).toBeCloseTo(other.logprob, 4);
      }
    });
    expect(cumulativeLogprob).toBeCloseTo(all.cumulativeLogprob!, 3);
  });

  it('logits_processors: they see the tokens so far, and what they change decides', async () => {
    const seen: number[][] = [];
    const { tokenIds, logprobs } = await one({
      ...greedy,
      logprobs: -1,
      logitsProcessors: [
        ({ promptTokenIds, outputTokenIds }, logits) => {
          seen.push([...outputTokenIds]);
          expect(promptTokenIds.length).toBeGreaterThan(1);
          expect(logits.length).toBe(VOCAB);
          for (let id = 0; id < VOCAB; id++) if (id % 7 !== 0) logits[id] = -Infinity;
        },
      ],
    });
    const allowed = Array.from({ length: Math.ceil(VOCAB / 7) }, (_, i) => 7 * i);
    const masked = await one({ ...greedy, allowedTokenIds: allowed, logprobs: -1 });
    expect(tokenIds).toEqual(masked.tokenIds);
    expect(seen).toEqual(tokenIds.map((_, i) => tokenIds.slice(0, i)));
    // Log-probabilities are the model's own.
    logprobs!.forEach((position, i) => {
      const expected = masked.logprobs![i]!;
      expect([position.tokenId, position.rank]).toEqual([expected.tokenId, expected.rank]);
      expect(position.logprob).toBeCloseTo(expected.logprob, 4);
      expect(position.top.slice(0, 5).map(t => t.tokenId)).toEqual(expected.top.slice(0, 5).map(t => t.tokenId));
    });
  });

  it('logits_processors: penalties and filters come after them, neighbours are not touched, and a fault is its own', async () => {
    const set = (id: number, value: number) => [
      (_: unknown, logits: Float32Array) => void logits.fill(value, id, id + 1),
    ];
    const outputs = await llm.generate(
      [prompt, prompt, prompt, prompt, prompt],
      [
        { ...greedy },
        { ...greedy, logitsProcessors: set(400, 1e4), frequencyPenalty: 2 },
        { ...greedy, logitsProcessors: [() => void JSON.parse('{')] },
        { ...greedy, logitsProcessors: set(3, Number.NaN) },
        { ...greedy, badWords: ['zebra'], logprobs: 1 },
      ],
    );
    expect(outputs[0]!.outputs[0]!.tokenIds).toEqual(plain.tokenIds);
    expect(outputs[1]!.outputs[0]!.tokenIds).toEqual(Array(12).fill(400));
    for (const index of [2, 3]) {
      expect(outputs[index]!.error).toBeInstanceOf(EngineError);
      expect(outputs[index]!.outputs[0]!.finishReason).toBe('error');
      expect(outputs[index]!.outputs[0]!.tokenIds).toEqual([]);
    }
    expect(outputs[2]!.error!.message).toMatch(/^A logits processor failed: .*JSON/);
    expect(outputs[3]!.error!.message).toBe(
      'A logits processor failed: the logit of token 3 became NaN, expected a number or -Infinity',
    );
    expect(outputs[4]!.outputs[0]!.tokenIds).toEqual(plain.tokenIds);
  });

  it('what excludes each other ends the request with a sentence', async () => {
    const tokenizer = await llm.tokenizer();
    const word = tokenizer.decode([plain.tokenIds[2]!]).trim();
    const ids = tokenizer.encode(` ${word}`, { addSpecialTokens: false });
    const [output] = await llm.generate(prompt, { ...greedy, badWords: [word], allowedTokenIds: ids });
    expect(output!.error).toBeInstanceOf(InvalidRequestError);
    expect(output!.error?.message).toMatch(/^No token may follow: /);
  });
});
