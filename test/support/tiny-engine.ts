import {
  createModelRunner,
  type DraftSupply,
  LLMEngine,
  type LLMEngineOptions,
  type ModelConfig,
  type ModelRunner,
  parseEngineConfig,
} from '@quire/core';
import type { Device } from '@quire/core/contract';
import { llamaConfig } from '../unit/models/configs.ts';
import { completeTensors, fakeCheckpoint } from '../unit/models/fake-checkpoint.ts';

/** A Llama of two layers and 96 tokens. */
export const tinyModel = llamaConfig({ dtype: 'f32', maxPositionEmbeddings: 128 });

/** Its weights: pseudo-random in [-1/2, 1/2), so that no two logits are equal. */
export function tinyCheckpoint(model: ModelConfig = tinyModel) {
  const tensors = completeTensors(model, 'model.');
  let state = 1;
  for (const { values } of Object.values(tensors)) {
    for (let i = 0; i < values.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      values[i] = state / 2 ** 32 - 0.5;
    }
  }
  return fakeCheckpoint(tensors, 4096);
}

export function tinyConfig(options: Record<string, unknown> = {}) {
  return parseEngineConfig({
    blockSize: 4,
    maxNumSeqs: 8,
    maxNumBatchedTokens: 32,
    kvCacheDtype: 'float32',
    numGpuBlocksOverride: 100,
    ...options,
  });
}

/** `draft`, beside the options of the engine: a model that guesses ahead. */
export async function tinyRunner(device: Device, options: Record<string, unknown> = {}): Promise<ModelRunner> {
  const { swapSpace = 0, draft = null, ...rest } = options;
  const engineConfig = { ...tinyConfig(rest), swapSpace: swapSpace as number };
  const model = { modelConfig: tinyModel, checkpoint: tinyCheckpoint() };
  return createModelRunner({ device, ...model, engineConfig, draft: draft as DraftSupply | null });
}

/** An engine over the tiny model on a device. */
export async function tinyEngine(
  device: Device,
  options: Record<string, unknown> = {},
  changes: Partial<LLMEngineOptions> = {},
): Promise<LLMEngine> {
  const executor = await tinyRunner(device, options);
  const { swapSpace: _, draft: __, ...rest } = options;
  return new LLMEngine({ executor, config: tinyConfig(rest), tokenizer: null, eosTokenIds: [2], ...changes });
}
