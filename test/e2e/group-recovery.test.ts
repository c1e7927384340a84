/** The thread of one rank ends in the middle of a generation: the engine opens another group, and no request is lost. */
import type { Worker } from 'node:worker_threads';
import { beforeAll, expect, it, vi } from 'vitest';
import { LLM } from '../../packages/server/src/index.ts';
import { build } from '../server/build.ts';
import { goldenCases } from './models.ts';

const threads = vi.hoisted(() => [] as Worker[]);
vi.mock('node:worker_threads', async importOriginal => {
  const original = await importOriginal<typeof import('node:worker_threads')>();
  class RecordedWorker extends original.Worker {
    constructor(...given: ConstructorParameters<typeof Worker>) {
      super(...given);
      threads.push(this);
    }
  }
  return { ...original, Worker: RecordedWorker };
});

beforeAll(build);

it.each([
  [2, 1, 1],
  [2, 2, 2],
])('with %i ranks in %i stages, thread %i', async (tensorParallelSize, pipelineParallelSize, victim) => {
  threads.length = 0;
  const cases = goldenCases('models/tiny-llama').slice(0, 4);
  const options = { device: 'reference', tensorParallelSize, pipelineParallelSize, numGpuBlocksOverride: 64 };
  await using llm = new LLM({ model: 'models/tiny-llama', ...options });
  const { asyncLLM } = await llm.load();
  const size = tensorParallelSize * pipelineParallelSize;
  expect(threads).toHaveLength(size);
  let tokens = 0;
  const outputs = await Promise.all(
    cases.map(async ({ promptTokenIds, maxTokens }) => {
      const collected: number[] = [];
      const params = { temperature: 0, maxTokens };
      for await (const { outputs } of asyncLLM.generate({ promptTokenIds }, params, { outputKind: 'delta' })) {
        collected.push(...outputs[0]!.tokenIds);
        tokens += outputs[0]!.tokenIds.length;
        if (tokens > 40 && threads.length === size) void threads[victim]!.terminate();
      }
      return collected;
    }),
  );
  expect(outputs).toEqual(cases.map(({ tokenIds }) => tokenIds));
  expect(threads).toHaveLength(2 * size);
});
