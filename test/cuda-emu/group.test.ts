/**
 * Groups of emulated GPUs, which meet through the stand-in for NCCL: the golden tokens with graph replay, from shards of the
 * weights. One short case of each checkpoint and kind of group; `npm run test:cuda-emu:groups` has all cases, and more groups.
 */
import type { CudaDevice } from '@quire/backend-cuda';
import { LLM } from '@quire/core';
import type { Device } from '@quire/core/contract';
import { expect, it } from 'vitest';
import { loadWeights } from '../../packages/core/src/models/index.ts';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { goldenCases, openModel } from '../e2e/models.ts';
import { openTestCudaEmuGroup, openTestReference } from '../support/devices.ts';
import { usedBytes } from './fixtures.ts';

const models = ['models/tiny-llama', 'models/tiny-opt'];
const everything = process.env.QUIRE_GROUPS === 'all';
const groups = [
  { tensorParallelSize: 2, pipelineParallelSize: 1 },
  { tensorParallelSize: 1, pipelineParallelSize: 2 },
  ...(everything ? [{ tensorParallelSize: 2, pipelineParallelSize: 2 }] : []),
];
const runs = groups.flatMap(group => models.map(folder => ({ ...group, folder })));

/** All of them to their end, or the first tokens of the two with the shortest prompts. */
function chosenCases(folder: string) {
  const cases = goldenCases(folder);
  if (everything) return { cases, most: Number.POSITIVE_INFINITY };
  const most = 10;
  const long = cases.filter(({ tokenIds }) => tokenIds.length > most);
  return { cases: long.sort((a, b) => a.promptTokenIds.length - b.promptTokenIds.length).slice(0, 2), most };
}

it.each(runs)(
  '$tensorParallelSize ranks in $pipelineParallelSize stages give the golden tokens of $folder',
  async ({ folder, ...sizes }) => {
    // The two ways of a sum: in memory that all reach at any size, and through NCCL above a size.
    const batchInvariant = folder === 'models/tiny-llama';
    const chip = { smCount: 3, order: 'shuffled' } as const;
    const { group, devices } = await openTestCudaEmuGroup({ ...sizes, chip, batchInvariant });
    const runtime = {
      openDevice: () => Promise.reject(new Error('The test opens its own device.')),
      openSource: openFolderSource,
    };
    const options = { dtype: 'float32', maxNumSeqs: 16, maxNumBatchedTokens: 128, numGpuBlocksOverride: 200 };
    await using llm = new LLM({ model: folder, device: group as Device, ...sizes, ...options }, runtime);
    const { cases, most } = chosenCases(folder);
    const outputs = await llm.generate(
      cases.map(golden => golden.prompt),
      cases.map(({ maxTokens }) => ({ temperature: 0, maxTokens: Math.min(maxTokens, most) })),
    );
    cases.forEach(({ name, tokenIds, text, finishReason }, index) => {
      const whole = tokenIds.length <= most ? { text, finishReason } : {};
      expect(outputs[index]!.outputs[0], name).toMatchObject({ tokenIds: tokenIds.slice(0, most), ...whole });
    });
    // Every member replays, and the same graphs.
    const replays = await Promise.all(devices.flat().map(replaysOf));
    expect(replays[0]).toBeGreaterThan(4);
    expect(new Set(replays).size).toBe(1);
    await group.dispose();
  },
);

async function replaysOf(device: CudaDevice): Promise<number> {
  return (await device.graphs()).reduce((sum, graph) => sum + graph.replays, 0);
}

it.each(models)('two ranks hold half of the sharded bytes of %s each', async folder => {
  const { source, modelConfig, checkpoint } = await openModel(folder);
  const { group, devices } = await openTestCudaEmuGroup({ tensorParallelSize: 2 });
  const meetingBytes = usedBytes(devices[0]![0]!);
  const loaded = await loadWeights(group, modelConfig, { checkpoint });
  const reference = await openTestReference();
  const whole = await loadWeights(reference, modelConfig, { checkpoint });
  await source.close();
  const replicated = Object.entries(whole.tensors)
    .filter(([name, { bytes }]) => loaded.tensors[name]!.bytes === bytes)
    .reduce((sum, [, { bytes }]) => sum + bytes, 0);
  for (const device of devices.flat()) {
    // As the device counts them, and as the driver does, beside the memory in which the ranks meet.
    expect(device.allocatedBytes()).toBe(replicated + (whole.bytes - replicated) / 2);
    expect(usedBytes(device) - meetingBytes).toBe(device.allocatedBytes());
  }
  expect(group.allocatedBytes()).toBe(2 * loaded.bytes);
  expect(replicated).toBeLessThan(whole.bytes / 10);
  loaded.dispose();
  whole.dispose();
  await group.dispose();
});
