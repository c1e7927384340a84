/** Mixtures of experts with weights in few bits: the tokens of the reference device, which dequantises the same bits. */
import type { Device, QuantDType } from '@quire/core/contract';
import { expect, it } from 'vitest';
import { createModelRunner } from '../../packages/core/src/worker/index.ts';
import { greedyConfig, runGreedy } from '../e2e/greedy-loop.ts';
import { openModel } from '../e2e/models.ts';
import { openTestCudaEmu, openTestReference } from '../support/devices.ts';

const requests = [
  { promptTokenIds: [3, 14, 15, 9, 2, 6], maxTokens: 6 },
  { promptTokenIds: [27, 1], maxTokens: 5 },
];

/** With seeded stand-ins for weights, of experts whose columns are whole groups. */
async function decode(device: Device, name: string, quantization: QuantDType) {
  const { source, modelConfig } = await openModel(`test/fixtures/models/${name}`);
  await source.close();
  const engineConfig = { ...greedyConfig, dtype: 'f32', quantization, numGpuBlocksOverride: 8, maxNumSeqs: 2 } as const;
  const model = { ...modelConfig, intermediateSize: 32 };
  const runner = await createModelRunner({ device, modelConfig: model, engineConfig, checkpoint: null });
  const { outputs } = await runGreedy(runner, requests, []);
  await runner.dispose();
  return outputs;
}

it.each(
  ['mixtral', 'qwen3-moe'].flatMap(name => (['q8', 'q4_32', 'q4_32z'] as const).map(format => [name, format] as const)),
)('%s in %s gives the tokens of the reference device', async (name, format) => {
  const [own, expected] = [
    await decode(await openTestCudaEmu(), name, format),
    await decode(await openTestReference(), name, format),
  ];
  expect(own.map(({ tokenIds }) => tokenIds)).toEqual(expected.map(({ tokenIds }) => tokenIds));
  own.forEach(({ tokenLogprobs }, i) => {
    for (const [at, value] of tokenLogprobs.entries()) expect(value).toBeCloseTo(expected[i]!.tokenLogprobs[at]!, 4);
  });
});
