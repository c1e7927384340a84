/** The shapes of test/bench/models are those of the published models: their parameters and KV bytes per token come out. */
import { expect, it } from 'vitest';
import { architectureOf } from '../../../packages/core/src/models/index.ts';
import { parseModelConfig } from '../../../packages/core/src/models/parse-config.ts';
import { openFolderSource } from '../../../packages/server/src/node/folder-source.ts';

it.each([
  ['opt-125m', 125_239_296, 36_864],
  ['qwen3-0.6b', 596_049_920, 114_688],
  ['llama-3.2-1b', 1_235_814_400, 32_768],
  ['llama-3.1-8b', 8_030_261_248, 131_072],
])('%s has %i parameters and %i bytes of KV cache per token', async (name, parameters, kvBytes) => {
  const source = await openFolderSource(`test/bench/models/${name}`);
  const config = await parseModelConfig(source).finally(() => source.close());
  const sizes = architectureOf(config)
    .weights(config)
    .map(({ shape }) => shape.reduce((product, size) => product * size, 1));
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(parameters);
  expect(2 * 2 * config.numLayers * config.numKvHeads * config.headDim).toBe(kvBytes);
});
