/** What is done before the first request: weights straight from the file, graphs and choices, and their memory counted for the cache. */
import { readdirSync, readFileSync } from 'node:fs';
import { copyFile, mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CudaDevice } from '@quire/backend-cuda';
import type { DeviceTensor } from '@quire/core/contract';
import type { DeviceGroup } from '@quire/core/group';
import { afterEach, describe, expect, it } from 'vitest';
import { loadWeights } from '../../packages/core/src/models/index.ts';
import { type ModelSource, openCheckpoint } from '../../packages/core/src/weights/index.ts';
import { createModelRunner } from '../../packages/core/src/worker/index.ts';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { greedyConfig, runGreedy } from '../e2e/greedy-loop.ts';
import { goldenCases, openModel } from '../e2e/models.ts';
import { openTestCudaEmu, openTestCudaEmuGroup, openTestReference } from '../support/devices.ts';
import { buildStubLibraries } from '../support/stub-libraries.ts';
import { usedBytes } from './fixtures.ts';

const folder = 'models/tiny-llama';
const MIB = 2 ** 20;

/** As text: matchers take seconds for so many numbers. */
async function bytesOn(device: { read: CudaDevice['read'] }, tensor: DeviceTensor): Promise<string> {
  const bytes = new Uint16Array(tensor.bytes / 2);
  await device.read(tensor, 0, bytes);
  return Buffer.from(bytes.buffer).toString('latin1');
}

/** Counts the bytes that pass through JavaScript. */
function counting(source: ModelSource): { source: ModelSource; read: () => number } {
  let bytes = 0;
  const counted: ModelSource = {
    location: source.location,
    list: () => source.list(),
    size: file => source.size(file),
    descriptor: (file, bytes) => source.descriptor!(file, bytes),
    close: () => source.close(),
    read(file, start, end, into) {
      bytes += end - start;
      return source.read(file, start, end, into);
    },
  };
  return { source: counted, read: () => bytes };
}

describe('weights', () => {
  it('go from the file to the device, and through JavaScript only their header goes', async () => {
    const { modelConfig, source: plain } = await openModel(folder);
    await plain.close();
    const { source, read } = counting(await openFolderSource(folder));
    const checkpoint = await openCheckpoint(source);
    const header = read();
    const device = await openTestCudaEmu();
    let written = 0;
    const { write } = device;
    device.write = (tensor, data, offset) => {
      written += data.byteLength;
      write.call(device, tensor, data, offset);
    };
    const loaded = await loadWeights(device, modelConfig, { checkpoint });
    expect(loaded.bytes).toBeGreaterThan(2 * MIB);
    expect([read(), written]).toEqual([header, 0]);
    const reference = await openTestReference();
    const expected = await loadWeights(reference, modelConfig, { checkpoint });
    for (const [name, tensor] of Object.entries(loaded.tensors)) {
      expect((await bytesOn(device, tensor)) === (await bytesOn(reference, expected.tensors[name]!)), name).toBe(true);
    }
    await source.close();
    loaded.dispose();
    expected.dispose();
  });

  it.each([2, 4])('of %i ranks are their rows and columns of the file', async tensorParallelSize => {
    const { source, modelConfig, checkpoint } = await openModel(folder);
    const { group, devices } = await openTestCudaEmuGroup({ tensorParallelSize });
    const { group: other, devices: others } = await openTestCudaEmuGroup({ tensorParallelSize });
    // The other group gets them through JavaScript.
    const streamed = { tensors: checkpoint.tensors, stream: checkpoint.stream.bind(checkpoint) };
    const loaded = await loadWeights(group, modelConfig, { checkpoint });
    const expected = await loadWeights(other, modelConfig, { checkpoint: streamed });
    await source.close();
    for (const [name, tensor] of Object.entries(loaded.tensors)) {
      const [own, theirs] = [partsOf(tensor), partsOf(expected.tensors[name]!)];
      for (let rank = 0; rank < tensorParallelSize; rank++) {
        const found = await bytesOn(devices[0]![rank]!, own[rank]!);
        expect(found === (await bytesOn(others[0]![rank]!, theirs[rank]!)), `${name} of rank ${rank}`).toBe(true);
      }
    }
    await group.dispose();
    await other.dispose();
  });

  function partsOf(tensor: DeviceTensor): DeviceTensor[] {
    return (tensor as unknown as { parts: DeviceTensor[][] }).parts.flat();
  }

  let copy: string | undefined;
  afterEach(async () => {
    if (copy !== undefined) await rm(copy, { recursive: true });
    copy = undefined;
  });

  it('of a file that ends early are an error that names it and the place', async () => {
    copy = await mkdtemp(join(tmpdir(), 'quire-weights-'));
    for (const file of ['config.json', 'model.safetensors']) await copyFile(join(folder, file), join(copy, file));
    const source = await openFolderSource(copy);
    const checkpoint = await openCheckpoint(source);
    const size = (await source.size('model.safetensors'))!;
    await truncate(join(copy, 'model.safetensors'), size - 1000);
    const { modelConfig, source: plain } = await openModel(folder);
    await plain.close();
    const device = await openTestCudaEmu();
    await expect(loadWeights(device, modelConfig, { checkpoint })).rejects.toMatchObject({
      name: 'ModelFormatError',
      code: 'IO_ERROR',
      details: { file: 'model.safetensors', found: `${size - 1000} bytes in the file` },
    });
    await device.synchronize();
    expect(device.allocatedBytes()).toBe(0);
    await source.close();
  });

  it('that are on their way when the device is disposed of end with it', async () => {
    const { source, modelConfig, checkpoint } = await openModel(folder);
    const device = await openTestCudaEmu();
    const { uploadFiles } = device;
    const underWay = new Promise<void>(resolve => {
      device.uploadFiles = (tensor, pieces) => {
        const uploaded = uploadFiles.call(device, tensor, pieces);
        resolve();
        return uploaded;
      };
    });
    const ended = expect(loadWeights(device, modelConfig, { checkpoint })).rejects.toThrow(/disposed/);
    await underWay;
    await device.dispose();
    await ended;
    await source.close();
  });
});

const config = { ...greedyConfig, maxNumSeqs: 4, maxNumBatchedTokens: 32, maxLogprobs: 0 } as const;

/** The checkpoint, or stand-ins for its first layer. */
async function openRunner(device: CudaDevice | DeviceGroup, more: object, isDummy = false) {
  const { source, ...model } = await openModel(folder);
  const stages: string[] = [];
  const dummy = { checkpoint: null, modelConfig: { ...model.modelConfig, numLayers: 1 } };
  const runner = await createModelRunner({
    device,
    ...model,
    ...(isDummy && dummy),
    engineConfig: { ...config, ...more },
    async timeStage(name, run, detail) {
      const result = await run();
      stages.push(detail === undefined ? name : `${name}: ${detail(result, 1)}`);
      return result;
    },
  });
  await source.close();
  return { runner, stages, eosTokenIds: model.eosTokenIds };
}

describe('graphs', () => {
  const batches = [1, 2, 4];
  const cases = goldenCases(folder)
    .filter(({ promptTokenIds, tokenIds }) => promptTokenIds.length < 20 && tokenIds.length > 6)
    .slice(0, 2)
    .map(golden => ({ ...golden, maxTokens: 6 }));

  it('of every batch size are there before the first request, and its tokens are the golden ones', async () => {
    const device = await openTestCudaEmu();
    const { runner, stages, eosTokenIds } = await openRunner(device, { lazyGraphs: false });
    const early = await device.graphs();
    expect(early.map(({ batch }) => batch).sort((a, b) => a - b)).toEqual(batches.flatMap(batch => [batch, batch]));
    expect(early.every(({ replays }) => replays === 0)).toBe(true);
    expect(stages).toEqual([expect.stringMatching(/^weights: .* GB\/s$/), 'kv cache: 3200 tokens', 'tuning', 'graphs']);
    const { outputs } = await runGreedy(runner, cases, eosTokenIds);
    expect(outputs.map(({ tokenIds }) => tokenIds)).toEqual(cases.map(({ tokenIds }) => tokenIds.slice(0, 6)));
    await runner.dispose();
  });

  it('are captured when they are first needed where that is asked for', async () => {
    const device = await openTestCudaEmu();
    const { runner, stages } = await openRunner(device, { lazyGraphs: true });
    expect(await device.graphs()).toEqual([]);
    expect(stages.map(stage => stage.split(':')[0])).toEqual(['weights', 'kv cache']);
    await runner.dispose();
  });

  it('of a group are captured by every member', async () => {
    const { group, devices } = await openTestCudaEmuGroup({ tensorParallelSize: 2 });
    const { runner } = await openRunner(group, { lazyGraphs: false }, true);
    for (const device of devices.flat()) expect((await device.graphs()).length).toBe(2 * batches.length);
    await runner.dispose();
    await group.dispose();
  });
});

it('choices between our products and those of the library are made before the first request', async () => {
  const temporary = await mkdtemp(join(tmpdir(), 'quire-tuning-'));
  process.env.QUIRE_CUBLASLT = buildStubLibraries(temporary);
  const cacheFolder = join(temporary, 'cache');
  const device = await openTestCudaEmu({ batchInvariant: false, cacheFolder });
  const { runner, eosTokenIds } = await openRunner(
    device,
    { lazyGraphs: false, dtype: 'f16', maxNumBatchedTokens: 24 },
    true,
  );
  const choices = () =>
    readFileSync(join(cacheFolder, readdirSync(cacheFolder)[0]!), 'utf8')
      .trimEnd()
      .split('\n');
  const early = choices();
  expect(new Set(early.map(line => / rows(\d+)/.exec(line)![1]))).toEqual(new Set(['16', '24']));
  await runGreedy(runner, [{ promptTokenIds: Array.from({ length: 20 }, (_, i) => 5 + i), maxTokens: 3 }], eosTokenIds);
  expect(choices()).toEqual(early);
  await runner.dispose();
  await device.dispose();
  process.env.QUIRE_CUBLASLT = '';
  await rm(temporary, { recursive: true });
});

describe('the size of the cache', () => {
  /** Of the emulated GPU's memory, so that the cache is small. */
  const gpuMemoryUtilization = 0.04;

  it.each([true, false])(
    'leaves room for all that is beside it, graphs too, when they are lazy: %s',
    async lazyGraphs => {
      const device = await openTestCudaEmu();
      const { total } = device.info.memory!;
      const { runner, stages } = await openRunner(device, {
        numGpuBlocksOverride: null,
        gpuMemoryUtilization,
        lazyGraphs,
      });
      expect(stages[1]).toBe('profile');
      await device.synchronize();
      const { bytes, numBlocks } = runner.kvCache;
      const [used, limit] = [usedBytes(device), total * gpuMemoryUtilization];
      // Everything is there, and it fills what it may to less than two blocks.
      expect(used).toBeLessThanOrEqual(limit);
      expect(limit - used).toBeLessThan((2 * bytes) / numBlocks);
      await runner.dispose();
      await device.synchronize();
      expect(device.allocatedBytes()).toBe(0);
    },
  );

  it('is smaller by the graphs', async () => {
    const blocks: number[] = [];
    for (const lazyGraphs of [true, false]) {
      const device = await openTestCudaEmu();
      const { runner } = await openRunner(
        device,
        { numGpuBlocksOverride: null, gpuMemoryUtilization, lazyGraphs },
        true,
      );
      blocks.push(runner.kvCache.numBlocks);
      await runner.dispose();
      await device.dispose();
    }
    expect(blocks[1]).toBeLessThan(blocks[0]!);
  });
});
