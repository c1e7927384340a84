/** Steady decode on the CUDA backend: what a captured step holds, and that nothing else reaches the device. */
import type { GraphInfo } from '@quire/backend-cuda';
import { expect, it } from 'vitest';
import { createModelRunner } from '../../packages/core/src/worker/index.ts';
import { runGreedy } from '../e2e/greedy-loop.ts';
import { openModel } from '../e2e/models.ts';
import { openTestCudaEmu } from '../support/devices.ts';

const engineConfig = {
  seed: 0n,
  maxModelLen: 64,
  blockSize: 16,
  maxNumSeqs: 8,
  maxNumBatchedTokens: 64,
  kvCacheDtype: 'auto',
  kvCacheMemoryBytes: null,
  numGpuBlocksOverride: 40,
  maxLogprobs: 0,
  runAhead: 2,
  numSchedulerSteps: 4,
} as const;

interface Model {
  readonly folder: string;
  readonly dtype: 'f32' | 'f16' | 'bf16';
  readonly numLayers: number;
  /** The chip has cooperative launches. */
  readonly cooperative?: boolean;
}

/** Decodes requests that start one step after another, and lists the graphs and the writes in front of each submit. */
async function decode({ folder, dtype, numLayers, cooperative = true }: Model, numRequests: number, maxTokens: number) {
  const device = await openTestCudaEmu({ chip: { smCount: 3, cooperative } });
  const { source, modelConfig } = await openModel(folder);
  await source.close();
  const executor = await createModelRunner({
    device,
    modelConfig: { ...modelConfig, numLayers },
    engineConfig: { ...engineConfig, dtype },
    checkpoint: null,
  });
  const writes = countWrites(device);
  const prompt = { promptTokenIds: [5, 6, 7], maxTokens };
  await runGreedy(executor, new Array(numRequests).fill(prompt), []);
  const graphs = await device.graphs();
  await executor.dispose();
  return { graphs, writes };
}

/** Writes in front of each submit, one count per submit so far. */
function countWrites(device: Awaited<ReturnType<typeof openTestCudaEmu>>): number[] {
  const counts: number[] = [];
  let count = 0;
  const { write, submit } = device;
  device.write = (...parameters) => {
    count++;
    write.apply(device, parameters);
  };
  device.submit = (...parameters) => {
    counts.push(count);
    count = 0;
    submit.apply(device, parameters);
  };
  return counts;
}

const models = [
  ...['models/tiny-llama', 'models/tiny-opt'].flatMap(folder =>
    (['f32', 'f16', 'bf16'] as const).map(dtype => ({ folder, dtype })),
  ),
  { folder: 'test/fixtures/models/qwen2-tied', dtype: 'bf16' as const },
  { folder: 'test/fixtures/models/qwen3-tied', dtype: 'bf16' as const },
];

/** By batch of a graph. */
async function launchesPerLayer(model: Omit<Model, 'numLayers'>, numRequests: number) {
  const one = await decode({ ...model, numLayers: 1 }, numRequests, numRequests + 4);
  const three = await decode({ ...model, numLayers: 3 }, numRequests, numRequests + 4);
  expect(one.graphs.length).toBeGreaterThan(0);
  expect(batchesOf(one.graphs)).toEqual(batchesOf(three.graphs));
  for (const { copies, sets } of three.graphs) expect({ copies, sets }).toEqual({ copies: 0, sets: 0 });
  return three.graphs.map(({ kernels, batch }, i) => [batch, (kernels - one.graphs[i]!.kernels) / 2]);
}

it.each(models)('launches five or six kernels a layer in decode: $folder, $dtype', async model => {
  // In 16 bits heads are rotated in the launch of their projection.
  const expected = model.dtype === 'f32' || model.folder.endsWith('opt') ? 6 : 5;
  for (const numRequests of [1, 5]) {
    const launches = await launchesPerLayer({ ...model, cooperative: false }, numRequests);
    expect(launches).toEqual(launches.map(([batch]) => [batch, expected]));
  }
});

it.each(models.filter(({ dtype }) => dtype !== 'f32'))(
  'launches none for a layer, but attention of narrow heads, where launches can be cooperative: $folder, $dtype',
  async model => {
    const launches = await launchesPerLayer(model, 2);
    // Heads of 8 and 16 values: attention by itself, and the operations between two of them in one launch.
    const expected = model.folder.startsWith('models/') ? 0 : 2;
    expect(launches).toEqual(launches.map(([batch]) => [batch, expected]));
  },
);

function batchesOf(graphs: readonly GraphInfo[]): number[] {
  return graphs.map(({ batch }) => batch);
}

it('replays a graph in every step of steady decode, and writes nothing', async () => {
  const [numRequests, maxTokens] = [3, 20];
  const model = { folder: 'models/tiny-llama', dtype: 'f32', numLayers: 2 } as const;
  const { graphs, writes } = await decode(model, numRequests, maxTokens);
  // Every step is one submit. A request starts in each of the first; the step after them tells the device its new batch.
  const steps = numRequests + maxTokens - 1;
  expect(writes.length).toBe(steps);
  expect(writes.slice(0, numRequests + 1).every(count => count > 0)).toBe(true);
  const steady = writes.slice(numRequests + 1, maxTokens);
  expect(steady.length).toBeGreaterThan(10);
  expect(new Set(steady)).toEqual(new Set([0]));
  // The first step of a batch runs op by op, the rest replay; three requests run in the graph of four rows.
  const decodeSteps = steps - numRequests;
  const byBatch = Object.fromEntries(graphs.map(({ batch, replays }) => [batch, replays]));
  expect(byBatch).toEqual({ 4: decodeSteps - 3 });
});
