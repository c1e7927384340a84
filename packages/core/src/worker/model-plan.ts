import { type Device, type Program, type StepSizes, shapeBytes } from '../contract/contract.ts';
import type { ModelConfig } from '../models/config.ts';
import {
  buildModelProgram,
  layersPerStage,
  maximalShape,
  type RowStateShape,
  ropeTables,
  stateTensors,
  type WeightLayout,
} from '../models/index.ts';
import { planMemory } from '../program/index.ts';
import { type KvCacheSize, kvCacheSize } from './kv-cache-size.ts';
import type { ModelDTypes } from './model-dtypes.ts';
import type { DeltaLimits } from './state-programs.ts';
import {
  hostBlocks,
  kvBudget,
  MAX_BIAS_WORDS,
  stepBudgets,
  type WorkerConfig,
  wantedModelLen,
} from './worker-config.ts';

const MAX_DELTA_WORDS = 1 << 16;
const MAX_DELTA_SEGMENTS = 1024;

/** Every size of a model on a device, and its program. */
export interface ModelPlan {
  readonly blockSize: number;
  readonly dtypes: ModelDTypes;
  readonly kvCache: KvCacheSize;
  /** Slots of host memory for KV blocks. */
  readonly numHostBlocks: number;
  readonly rowState: RowStateShape;
  readonly maxSizes: StepSizes;
  readonly maxLogprobs: number;
  readonly deltaLimits: DeltaLimits;
  readonly program: Program;
}

type StepPlan = Pick<ModelPlan, 'rowState' | 'maxSizes' | 'maxLogprobs'>;

/** Throws ConfigError for what can be refused before the weights are loaded. */
export function checkWorkerConfig(config: WorkerConfig, model: ModelConfig, device: Device): void {
  planStep(config, model, device, wantedModelLen(config, model).length);
}

/** Sizes the cache from what the loaded weights leave, and the rest from that. Throws ConfigError when there is no room. */
export function planModel(
  config: WorkerConfig,
  model: ModelConfig,
  device: Device,
  dtypes: ModelDTypes,
  weights: WeightLayout,
): ModelPlan {
  const { blockSize } = config;
  const { maxTensorBytes } = device.info.limits;
  const { activations: activationDtype, kvCache: kvDtype } = dtypes;
  const build = ({ rowState, maxSizes }: StepPlan, numBlocks: number) =>
    buildModelProgram(model, {
      maxSizes,
      rowState,
      weights,
      blockSize,
      numBlocks,
      activationDtype,
      kvDtype,
      ranks: device.info.ranks,
      stages: device.info.stages,
    });
  const wanted = wantedModelLen(config, model);
  const reserveBytes = () => {
    const step = planStep(config, model, device, wanted.length);
    return workingBytes(build(step, 1), step, model, maxTensorBytes);
  };
  const kvCache = kvCacheSize({
    ...model,
    numLayers: layersPerStage(model, device.info.stages),
    blockSize,
    dtype: kvDtype,
    maxNumSeqs: config.maxNumSeqs,
    maxModelLen: wanted.length,
    fitMaxModelLen: wanted.fit,
    maxTensorBytes,
    budget: kvBudget(config, device, reserveBytes),
  });
  const step = planStep(config, model, device, kvCache.maxModelLen);
  const deltaLimits = {
    words: Math.min(MAX_DELTA_WORDS, Math.floor(maxTensorBytes / 4)),
    segments: MAX_DELTA_SEGMENTS,
  };
  const numHostBlocks = hostBlocks(config, device, kvCache.bytes / kvCache.numBlocks);
  return { ...step, blockSize, dtypes, kvCache, numHostBlocks, deltaLimits, program: build(step, kvCache.numBlocks) };
}

function planStep(config: WorkerConfig, model: ModelConfig, device: Device, maxModelLen: number): StepPlan {
  const budgets = stepBudgets(config, model, device, maxModelLen);
  const maxBlocksPerSequence = Math.ceil(maxModelLen / config.blockSize);
  return {
    maxLogprobs: budgets.maxLogprobs,
    rowState: {
      maxRows: budgets.maxNumSeqs,
      maxBlocksPerSequence,
      maxModelLen,
      ringSlots: budgets.ringSlots,
      maxBiasWords: MAX_BIAS_WORDS,
    },
    maxSizes: {
      tokens: budgets.maxNumBatchedTokens,
      sequences: budgets.maxNumSeqs,
      decodeSequences: budgets.maxNumSeqs,
      samples: budgets.maxSamples,
      blocksPerSequence: maxBlocksPerSequence,
      maxQueryTokens: Math.min(budgets.maxNumBatchedTokens, maxModelLen),
      deltaSegments: 0,
    },
  };
}

/** Bytes of temporaries and shared tensors beside weights and cache; the sampler takes as much again as its logits. */
function workingBytes(program: Program, step: StepPlan, model: ModelConfig, maxTensorBytes: number): number {
  const arenas = planMemory(program, { alignment: 256, maxArenaBytes: maxTensorBytes }).arenas;
  const state = Object.values(stateTensors(step.rowState, model.vocabSize)).map(({ dtype, shape }) =>
    shapeBytes(dtype, maximalShape(shape, step.maxSizes)),
  );
  const tables = ropeTables(model).map(({ rope }) => 4 * rope.rotaryDim * step.rowState.maxModelLen);
  const sampler = 4 * model.vocabSize * step.maxSizes.samples;
  return [...arenas, ...state, ...tables, sampler, 4 * MAX_DELTA_WORDS].reduce((sum, bytes) => sum + bytes, 0);
}
