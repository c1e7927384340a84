/** What each argument of the engine does, on tiny-llama and the reference device. */
import { type EngineOptions, QueueFullError, type StepReport } from '@quire/core';
import type { Device } from '@quire/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { LLM, openDevice } from '../../packages/server/src/index.ts';
import { openTestReference } from '../support/devices.ts';
import { build } from './build.ts';
import { greedy, prompt, run, small, tokensOf } from './engine-run.ts';
import { goldenCase, tinyLlama } from './tiny-server.ts';

const golden = goldenCase('dog-at-the-farm');

describe('memory', () => {
  it('kvCacheMemoryBytes and numGpuBlocksOverride size the cache', async () => {
    expect((await run({ numGpuBlocksOverride: 50 }, [])).kvCache.numBlocks).toBe(51);
    // Five layers, K and V, two heads of 32 in f32: 40 KiB a block of 16 tokens.
    const { kvCache } = await run({ numGpuBlocksOverride: null, kvCacheMemoryBytes: '4M' }, []);
    expect(kvCache.bytes).toBe(102 * 40 * 1024);
  });

  it('maxModelLen is fitted to the cache, or refused with what fits', async () => {
    const tight = { numGpuBlocksOverride: 10 } as const;
    expect((await run({ ...tight, maxModelLen: 'auto' }, [])).limits.maxModelLen).toBe(160);
    expect((await run({ ...tight, maxModelLen: 100 }, [])).limits.maxModelLen).toBe(100);
    await expect(run({ ...tight, maxModelLen: 200 }, [])).rejects.toThrow('lower maxModelLen to at most 160');
    await expect(run({ maxModelLen: 600 }, [])).rejects.toThrow('the model knows 512 positions');
  });

  it.each([5, 32])('blockSize %i gives the same tokens', async blockSize => {
    const { outputs, limits } = await run({ blockSize }, [golden.promptTokenIds], {
      ...greedy,
      maxTokens: golden.maxTokens,
      ignoreEos: false,
    });
    expect(limits.blockSize).toBe(blockSize);
    expect(tokensOf(outputs)).toEqual([golden.tokenIds]);
  });

  it('swapSpace keeps blocks that leave the device, and brings them back', async () => {
    const prompts = [prompt(60), prompt(60, 300), prompt(60, 420), prompt(60, 340), prompt(60)];
    const options = { numGpuBlocksOverride: 10, maxModelLen: 100, maxNumSeqs: 1 };
    const cachedOf = async (swapSpace: number) => {
      const { outputs } = await run({ ...options, swapSpace }, prompts);
      return { cached: outputs.map(({ numCachedTokens }) => numCachedTokens), tokens: tokensOf(outputs) };
    };
    const [without, kept] = [await cachedOf(0), await cachedOf(0.01)];
    expect(without.cached).toEqual([0, 0, 0, 0, 0]);
    expect(kept.cached).toEqual([0, 0, 0, 0, 48]);
    expect(kept.tokens).toEqual(without.tokens);
    await expect(run({ swapSpace: 1e6 }, [])).rejects.toThrow("more than 70 % of this machine's memory");
    await expect(run({ swapSpace: 0.01, enablePrefixCaching: false }, [])).rejects.toMatchObject({
      option: 'swapSpace',
    });
  });

  it('enablePrefixCaching lets a prompt find the blocks of another', async () => {
    const prompts = [prompt(60), prompt(60)];
    const cachedOf = async (enablePrefixCaching: boolean) => {
      const { outputs } = await run({ enablePrefixCaching, maxNumSeqs: 1 }, prompts);
      return outputs.map(({ numCachedTokens }) => numCachedTokens);
    };
    expect(await cachedOf(true)).toEqual([0, 48]);
    expect(await cachedOf(false)).toEqual([0, 0]);
  });
});

describe('the schedule', () => {
  const prompts = [prompt(25), prompt(35, 300), prompt(10, 400), prompt(45, 280)];
  let plain: ReturnType<typeof run> | undefined;
  const undisturbed = () => {
    plain ??= run({}, prompts);
    return plain;
  };

  it('maxNumSeqs and maxNumBatchedTokens bound every step', async () => {
    const { outputs, steps } = await run({ maxNumSeqs: 2, maxNumBatchedTokens: 16 }, prompts);
    expect(Math.max(...steps.map(step => step.numSequences))).toBe(2);
    expect(Math.max(...steps.map(step => step.numTokens))).toBe(16);
    expect(tokensOf(outputs)).toEqual(tokensOf((await undisturbed()).outputs));
  });

  it('enableChunkedPrefill false computes every prompt in one step', async () => {
    const options = { maxModelLen: 60, maxNumBatchedTokens: 60 };
    const { steps } = await run({ ...options, enableChunkedPrefill: false }, prompts);
    const chunked = await run(options, prompts);
    const prefills = (list: readonly StepReport[]) =>
      list.filter(step => step.numPromptTokens > 0).map(step => step.numPromptTokens);
    expect(prefills(steps)).toEqual([60, 55]);
    expect(prefills(chunked.steps)).toEqual([60, 55]);
    await expect(run({ enableChunkedPrefill: false }, [])).rejects.toThrow('Without chunked prefill');
  });

  it('longPrefillTokenThreshold bounds what one prompt takes of a step', async () => {
    const long = [prompt(50)];
    const { steps, outputs } = await run({ longPrefillTokenThreshold: 12 }, long);
    expect(steps.filter(step => step.numPromptTokens > 0).map(step => step.numPromptTokens)).toEqual([
      12, 12, 12, 12, 2,
    ]);
    const free = await run({}, long);
    expect(free.steps[0]!.numPromptTokens).toBe(50);
    expect(tokensOf(outputs)).toEqual(tokensOf(free.outputs));
  });

  it('schedulingPolicy priority runs the lowest number first, fcfs refuses priorities', async () => {
    const order: number[] = [];
    const config = { model: tinyLlama, ...small, maxNumSeqs: 1 };
    await using llm = new LLM({ ...config, device: await openTestReference(), schedulingPolicy: 'priority' });
    const { asyncLLM } = await llm.load();
    const finish = async (priority: number) => {
      for await (const _ of asyncLLM.generate([5, 6, 7], { ...greedy, priority }, { outputKind: 'final' }))
        order.push(priority);
    };
    await Promise.all([finish(2), finish(1), finish(-3)]);
    expect(order).toEqual([-3, 1, 2]);
    await expect(run({}, [[5]], { priority: 1 })).rejects.toThrow('priority');
  });

  it('watermark leaves blocks free at admission', async () => {
    const counts = async (watermark: number) => {
      const { stats } = await run(
        { watermark, blockSize: 4, numGpuBlocksOverride: 14, maxModelLen: 30, enablePrefixCaching: false },
        [prompt(15), prompt(15, 300), prompt(15, 420)],
        {
          ...greedy,
          maxTokens: 10,
        },
      );
      return stats.numPreemptions;
    };
    expect(await counts(0)).toBeGreaterThan(0);
    expect(await counts(0.45)).toBe(0);
  });

  it('asyncScheduling false keeps one step in flight, and changes no token', async () => {
    const [ahead, behind] = [await undisturbed(), await run({ asyncScheduling: false }, prompts)];
    expect(Math.max(...ahead.steps.map(step => step.times))).toBeGreaterThan(1);
    expect(Math.max(...behind.steps.map(step => step.times))).toBe(1);
    expect(tokensOf(behind.outputs)).toEqual(tokensOf(ahead.outputs));
  });

  it.each([
    [1, 1],
    [3, 1],
    [1, 8],
    [4, 4],
  ])('runAhead %i and numSchedulerSteps %i change no token', async (runAhead, numSchedulerSteps) => {
    const { outputs, steps } = await run({ runAhead, numSchedulerSteps }, prompts);
    expect(Math.max(...steps.map(step => step.times))).toBeLessThanOrEqual(numSchedulerSteps);
    expect(tokensOf(outputs)).toEqual(tokensOf((await undisturbed()).outputs));
  });

  it('speculativeConfig guesses what the prompt repeats, and changes no token', async () => {
    const repeated = [...prompt(20), ...prompt(20), ...prompt(7)];
    const params = { ...greedy, maxTokens: 24 };
    const speculative = { method: 'ngram', num_speculative_tokens: 3, prompt_lookup_max: 3, prompt_lookup_min: 1 };
    const [plain, guessed] = [
      await run({}, [repeated], params),
      await run({ speculativeConfig: speculative }, [repeated], params),
    ];
    expect(tokensOf(guessed.outputs)).toEqual(tokensOf(plain.outputs));
    expect(plain.stats.draftTokens).toBe(0);
    expect(guessed.stats.draftTokens).toBeGreaterThan(0);
  });

  it('speculativeConfig with a draft model guesses what that samples, and changes no token', async () => {
    const speculativeConfig = { model: tinyLlama, num_speculative_tokens: 3 };
    const [plain, guessed] = [await run({}, [[5, 6]]), await run({ speculativeConfig }, [[5, 6]])];
    expect(tokensOf(guessed.outputs)).toEqual(tokensOf(plain.outputs));
    expect(guessed.stats).toMatchObject({ draftTokens: 5, acceptedTokens: 5, numDrafts: 2 });
  });

  it('maxLogprobs bounds what a request may ask for', async () => {
    await expect(run({ maxLogprobs: 2 }, [[5]], { ...greedy, logprobs: 3 })).rejects.toThrow('logprobs');
    const { outputs } = await run({ maxLogprobs: -1 }, [[5]], { temperature: 0, maxTokens: 1, logprobs: 1024 });
    expect(outputs[0]!.outputs[0]!.logprobs![0]!.top).toHaveLength(1024);
  });
});

describe('the queue', () => {
  async function queued(options: EngineOptions, sizes: readonly number[]): Promise<(string | number)[]> {
    await using llm = new LLM({ model: tinyLlama, device: await openTestReference(), ...small, ...options });
    const { asyncLLM } = await llm.load();
    return sizes.map(size => {
      try {
        asyncLLM.generate(prompt(size), greedy);
        return size;
      } catch (error) {
        expect(error).toBeInstanceOf(QueueFullError);
        expect(error).toMatchObject({ code: 'queue_full' });
        return (error as Error).message;
      }
    });
  }
  it('maxNumQueuedReqs refuses what is beyond it', async () => {
    const full = 'The queue is full: 2 requests wait, the limit is 2 (max_num_queued_reqs). Try again later.';
    expect(await queued({ maxNumQueuedReqs: 2 }, [3, 3, 3])).toEqual([3, 3, full]);
    expect(await queued({}, [3, 3, 3])).toEqual([3, 3, 3]);
  });

  it('maxNumQueuedTokens refuses a prompt that does not fit, and any when the bound is reached', async () => {
    const full = (tokens: number) =>
      `The queue is full: ${tokens} tokens wait, the limit is 20 (max_num_queued_tokens). Try again later.`;
    expect(await queued({ maxNumQueuedTokens: 20 }, [12, 9, 8, 1])).toEqual([12, full(12), 8, full(20)]);
    // An empty queue takes a prompt of any length.
    expect(await queued({ maxNumQueuedTokens: 20 }, [60, 1])).toEqual([60, full(60)]);
  });

  it('looks at nothing of a request that it refuses', async () => {
    await using llm = new LLM({ model: tinyLlama, device: await openTestReference(), ...small, maxNumQueuedReqs: 1 });
    const { asyncLLM } = await llm.load();
    asyncLLM.generate(prompt(3), greedy);
    const hostile = {
      get prompt(): string {
        throw new Error('looked at');
      },
    };
    expect(() => asyncLLM.generate(hostile)).toThrow(QueueFullError);
  });
});

describe('devices', () => {
  beforeAll(build);
  const withInfo = (device: Device, change: Partial<Device['info']['capabilities']>): Device =>
    new Proxy(device, {
      get: (target, key) => {
        if (key === 'info') return { ...target.info, capabilities: { ...target.info.capabilities, ...change } };
        const value = Reflect.get(target, key);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });

  it('tensorParallelSize opens a group, whose tokens are those of one device', async () => {
    await using llm = new LLM({ model: tinyLlama, device: 'reference', ...small, tensorParallelSize: 2 });
    const [output] = await llm.generate([golden.prompt], { temperature: 0, maxTokens: golden.maxTokens });
    expect(output!.outputs[0]!.tokenIds).toEqual(golden.tokenIds);
    const [sampled] = await llm.generate([golden.prompt], { temperature: 1, topP: 0.9, seed: 7, maxTokens: 10, n: 2 });
    const alone = await run({}, [golden.promptTokenIds], { temperature: 1, topP: 0.9, seed: 7, maxTokens: 10, n: 2 });
    expect(sampled!.outputs.map(({ tokenIds }) => tokenIds)).toEqual(
      alone.outputs[0]!.outputs.map(({ tokenIds }) => tokenIds),
    );
    expect((await llm.load()).runner.executables.get('model')!.opCounts().allReduce).toBeGreaterThan(0);
  });

  it('pipelineParallelSize divides the layers, and the tokens are those of one device', async () => {
    const parallel = { pipelineParallelSize: 2, tensorParallelSize: 2 };
    await using llm = new LLM({ model: tinyLlama, device: 'reference', ...small, ...parallel });
    const params = { temperature: 1, topP: 0.9, seed: 7, maxTokens: 10, n: 2, logprobs: 2, presencePenalty: 0.5 };
    const [sampled] = await llm.generate([golden.prompt], params);
    const alone = await run({}, [golden.promptTokenIds], params);
    expect(sampled!.outputs.map(({ tokenIds }) => tokenIds)).toEqual(
      alone.outputs[0]!.outputs.map(({ tokenIds }) => tokenIds),
    );
    const { executables } = (await llm.load()).runner;
    expect(executables.get('model')!.opCounts()).toMatchObject({ recv: expect.any(Number) });
    await expect(openDevice('webgpu', { pipelineParallelSize: 2 })).rejects.toMatchObject({
      option: 'pipelineParallelSize',
    });
    await expect(run({ pipelineParallelSize: 2 }, [])).rejects.toThrow('but the device has 1 stage.');
    await using six = new LLM({ model: tinyLlama, device: 'reference', ...small, pipelineParallelSize: 6 });
    await expect(six.load()).rejects.toThrow('but the model has 5 layers');
  });

  it('swapSpace works on every rank and stage', async () => {
    const options = { numGpuBlocksOverride: 10, maxModelLen: 100, maxNumSeqs: 1, maxNumBatchedTokens: 128 };
    const parallel = { pipelineParallelSize: 2, tensorParallelSize: 2, swapSpace: 0.01 };
    await using llm = new LLM({ model: tinyLlama, device: 'reference', ...options, ...parallel });
    const prompts = [prompt(60), prompt(60, 300), prompt(60, 420), prompt(60, 340), prompt(60)];
    const outputs = await llm.generate(
      prompts.map(promptTokenIds => ({ promptTokenIds })),
      greedy,
    );
    expect(outputs.map(({ numCachedTokens }) => numCachedTokens)).toEqual([0, 0, 0, 0, 48]);
    expect(outputs[4]!.outputs[0]!.tokenIds).toEqual(outputs[0]!.outputs[0]!.tokenIds);
  });

  it('tensorParallelSize is refused where there are no groups, and by a device that is none', async () => {
    for (const kind of ['webgpu', 'cuda', 'auto']) {
      await expect(openDevice(kind, { tensorParallelSize: 2 })).rejects.toMatchObject({ option: 'tensorParallelSize' });
    }
    await expect(openDevice('referense', { tensorParallelSize: 2 })).rejects.toThrow('Did you mean "reference"?');
    await expect(run({ tensorParallelSize: 2 }, [])).rejects.toThrow(
      'tensorParallelSize is 2, but the device has 1 rank.',
    );
    await using llm = new LLM({ model: tinyLlama, device: 'reference', ...small, tensorParallelSize: 3 });
    await expect(llm.load()).rejects.toThrow('but the model has 2 KV heads');
  });

  it('batchInvariant is accepted where it holds, and refused where not', async () => {
    const device = await openTestReference();
    expect((await run({ device, batchInvariant: true }, [[5]])).outputs).toHaveLength(1);
    const other = withInfo(device, { batchInvariant: false });
    await expect(run({ device: other, batchInvariant: true }, [])).rejects.toMatchObject({ option: 'batchInvariant' });
    expect((await run({ device: other }, [[5]])).outputs).toHaveLength(1);
  });

  it('enforceEager is refused by a device that was opened with graphs', async () => {
    const device = withInfo(await openTestReference(), { graphs: true });
    await expect(run({ device, enforceEager: true }, [])).rejects.toMatchObject({ option: 'enforceEager' });
    expect((await run({ enforceEager: true }, [[5]])).outputs).toHaveLength(1);
  });

  it('seed is the base of requests that set none', async () => {
    const sample = async (seed: number) =>
      tokensOf((await run({ seed }, [[5, 6]], { temperature: 1, maxTokens: 12, ignoreEos: true })).outputs);
    expect(await sample(1)).toEqual(await sample(1));
    expect(await sample(1)).not.toEqual(await sample(2));
  });
});
