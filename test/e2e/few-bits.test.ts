/** The bundled checkpoints with weights and caches in few bits, on every device. */
import type { CacheDType, Device, QuantDType } from '@quire/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { createModelRunner, openDebugRunner } from '../../packages/core/src/worker/index.ts';
import {
  casesOn,
  openTestDevice,
  openTestReference,
  requiredDevices,
  type TestDeviceName,
} from '../support/devices.ts';
import { greedyConfig, runGreedy } from './greedy-loop.ts';
import { certainTokens, goldenCases, openModel, relativeL2 } from './models.ts';

const folders = ['models/tiny-llama', 'models/tiny-opt'] as const;
/** Error of the log-probabilities that a cache of codes may make, and twice that as the gap below which tokens may change places. */
const cacheErrors: Readonly<Record<CacheDType, number>> = { i8: 0.2, f8e4m3: 0.6 };

describe.each(requiredDevices())('few bits on %s', name => {
  let device: Device;
  beforeAll(async () => {
    device = await openTestDevice(name);
  });

  it.each(cachesOf(name))(
    '%s with a KV cache in %s gives every token before a narrow gap',
    async (folder, kvCacheDtype) => {
      const { source, ...model } = await openModel(folder);
      const engineConfig = { ...greedyConfig, kvCacheDtype };
      const runner = await createModelRunner({ device, ...model, engineConfig });
      await source.close();
      const { headDim } = model.modelConfig;
      const { bytes, numBlocks } = runner.kvCache;
      const { numLayers, numKvHeads } = model.modelConfig;
      expect(bytes).toBe(numBlocks * numLayers * 2 * numKvHeads * 16 * (headDim + 4));
      const cases = goldenCases(folder);
      const { outputs } = await runGreedy(runner, cases, model.eosTokenIds);
      let [worst, compared] = [0, 0];
      cases.forEach((golden, index) => {
        const certain = certainTokens(golden, 2 * cacheErrors[kvCacheDtype]);
        const { tokenIds, tokenLogprobs } = outputs[index]!;
        expect(tokenIds.slice(0, certain), golden.name).toEqual(golden.tokenIds.slice(0, certain));
        compared += certain;
        for (let i = 0; i < certain; i++) {
          worst = Math.max(worst, Math.abs(tokenLogprobs[i]! - golden.tokenLogprobs[i]!));
        }
      });
      console.log(
        `${name}, ${folder}, KV ${kvCacheDtype}: ${compared} tokens equal, log-probabilities within ${worst.toFixed(4)}`,
      );
      expect(compared).toBeGreaterThan(50);
      expect(worst).toBeLessThan(cacheErrors[kvCacheDtype]);
      await runner.dispose();
    },
  );

  it.each(formatsOf(name))('%s in %s gives the logits of the reference device', async (folder, quantization) => {
    const golden = goldenCases(folder).filter(({ promptTokenIds }) => promptTokenIds.length > 20)[0]!;
    const [own, expected] = [
      await logitsOf(device, folder, quantization, golden.promptTokenIds),
      await logitsOf(await openTestReference(), folder, quantization, golden.promptTokenIds),
    ];
    expect(relativeL2(own, expected)).toBeLessThan(1e-5);
    const stored = await logitsOf(device, folder, null, golden.promptTokenIds);
    const error = relativeL2(own, stored);
    console.log(
      `${name}, ${folder}, ${quantization}: logits differ from those of the stored weights by ${error.toFixed(4)}`,
    );
    expect(error).toBeGreaterThan(1e-4);
    expect(error).toBeLessThan(quantization === 'q8' ? 0.03 : 0.4);
  });
});

type Checkpoint = (typeof folders)[number];

const withEach = <T>(formats: readonly T[]) =>
  folders.flatMap(folder => formats.map((format): readonly [Checkpoint, T] => [folder, format]));

function cachesOf(device: TestDeviceName): readonly (readonly [Checkpoint, CacheDType])[] {
  const dtype = device === 'cuda-emu' ? 'i8' : 'f8e4m3';
  return casesOn<readonly [Checkpoint, CacheDType]>(device, withEach(['i8', 'f8e4m3']), [['models/tiny-opt', dtype]]);
}

function formatsOf(device: TestDeviceName): readonly (readonly [Checkpoint, QuantDType])[] {
  return casesOn<readonly [Checkpoint, QuantDType]>(device, withEach(['q8', 'q4_32', 'q4_32z']), [
    ['models/tiny-llama', 'q4_32z'],
    ['models/tiny-opt', 'q8'],
  ]);
}

async function logitsOf(
  device: Device,
  folder: string,
  quantization: QuantDType | null,
  ids: readonly number[],
): Promise<Float32Array> {
  const { source, ...model } = await openModel(folder);
  const dtypes = {
    weights: 'auto',
    activations: 'f32',
    kvCache: 'f32',
    ...(quantization && { quantization }),
  } as const;
  const runner = await openDebugRunner({ device, ...model, maxTokens: 64, dtypes });
  await source.close();
  const logits = await runner.forwardLogits(ids);
  runner.dispose();
  return logits;
}
