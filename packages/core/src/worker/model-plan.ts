import { type Device, type Program, type StepSizes, shapeBytes } from '../contract/contract.ts';
import type { ModelConfig } from '../models/config.ts';
import {
  buildModelProgram,
  cacheBlockBytes,
  type LoraShape,
  layersPerStage,
  loraLayers,
  loraTensors,
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
  checkLoraTensors,
  hostBlocks,
  kvBudget,
  loraShape,
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
  /** Room for adapters, or null. */
  readonly lora: LoraShape | null;
  readonly program: Program;
}

type StepPlan = Pick<ModelPlan, 'rowState' | 'maxSizes' | 'maxLogprobs'>;

/** Throws ConfigError for what can be refused before the weights are loaded. */
export function checkWorkerConfig(config: WorkerConfig, model: ModelConfig, device: Device, dtypes: ModelDTypes): void {
  planStep(config, model, device, wantedModelLen(config, model).length);
  const adapters = adapterTensors(model, loraShape(config, device), dtypes);
  checkLoraTensors(
    adapters.map(({ name, dtype, shape }) => ({ name, bytes: shapeBytes(dtype, shape) })),
    device,
  );
}

/** What a plan is made of. */
export interface PlanInputs {
  readonly config: WorkerConfig;
  /** As one rank computes it. */
  readonly model: ModelConfig;
  readonly device: Device;
  readonly dtypes: ModelDTypes;
  readonly weights: WeightLayout;
}

/** What a draft model beside the one that is planned will take, its weights apart. */
export interface DraftNeed {
  /** Of a KV block, over all layers of a stage: its cache has as many. */
  readonly blockBytes: number;
  readonly workingBytes: number;
}

/**
 * Sizes the cache from what the loaded weights leave, and the rest from that. `workingBytes`: what everything beside weights and
 * cache takes, where it was measured. Throws ConfigError when there is no room.
 */
export function planModel(inputs: PlanInputs, workingBytes: number | null, draft: DraftNeed | null = null): ModelPlan {
  const { config, model, device, dtypes } = inputs;
  const wanted = wantedModelLen(config, model);
  const working = () => (workingBytes ?? estimateWorkingBytes(inputs, wanted.length)) + (draft?.workingBytes ?? 0);
  const kvCache = kvCacheSize({
    ...model,
    numLayers: layersPerStage(model, device.info.stages),
    blockSize: config.blockSize,
    dtype: dtypes.kvCache,
    maxNumSeqs: config.maxNumSeqs,
    maxModelLen: wanted.length,
    fitMaxModelLen: wanted.fit,
    maxTensorBytes: device.info.limits.maxTensorBytes,
    budget: kvBudget(config, device, working),
    besideBlockBytes: draft?.blockBytes ?? 0,
  });
  const numHostBlocks = hostBlocks(config, device, kvCache.bytes / kvCache.numBlocks);
  return { ...planWithCache(inputs, kvCache), numHostBlocks };
}

/** The same model over a cache of one block: to measure what everything but the cache takes. */
export function planRehearsal(inputs: PlanInputs): ModelPlan {
  const { config, model } = inputs;
  const { length } = wantedModelLen(config, model);
  const bytes = 2 * blockBytes(inputs);
  const kvCache = { numBlocks: 2, bytes, maxModelLen: length, tokens: config.blockSize, fullLengthRequests: 0 };
  return { ...planWithCache(inputs, kvCache), numHostBlocks: 0 };
}

/** Of a KV block, over all layers of a stage. */
export function blockBytes({ config, model, device, dtypes }: PlanInputs): number {
  const { numKvHeads: kvHeads, headDim } = model;
  const shape = { kvHeads, blockSize: config.blockSize, headDim, kvDtype: dtypes.kvCache };
  return layersPerStage(model, device.info.stages) * cacheBlockBytes(shape);
}

function planWithCache(inputs: PlanInputs, kvCache: KvCacheSize): Omit<ModelPlan, 'numHostBlocks'> {
  const { config, model, device, dtypes } = inputs;
  const step = planStep(config, model, device, kvCache.maxModelLen);
  const deltaLimits = {
    words: Math.min(MAX_DELTA_WORDS, Math.floor(device.info.limits.maxTensorBytes / 4)),
    segments: MAX_DELTA_SEGMENTS,
  };
  const program = buildProgram(inputs, step, kvCache.numBlocks);
  const lora = loraShape(config, device);
  return { ...step, blockSize: config.blockSize, dtypes, kvCache, deltaLimits, lora, program };
}

function buildProgram(inputs: PlanInputs, { rowState, maxSizes }: StepPlan, numBlocks: number): Program {
  const { config, model, device, dtypes, weights } = inputs;
  return buildModelProgram(model, {
    maxSizes,
    rowState,
    weights,
    blockSize: config.blockSize,
    numBlocks,
    activationDtype: dtypes.activations,
    kvDtype: dtypes.kvCache,
    lora: loraShape(config, device),
    ranks: device.info.ranks,
    stages: device.info.stages,
  });
}

/** Where adapters lie on the device: a, b and scales of every layer that they may change. */
export function adapterTensors(model: ModelConfig, lora: LoraShape | null, dtypes: ModelDTypes) {
  if (lora === null) return [];
  return loraLayers(model).flatMap(layer => Object.values(loraTensors(layer, lora, dtypes.activations)));
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
export function estimateWorkingBytes(inputs: PlanInputs, maxModelLen: number): number {
  const { config, model, device } = inputs;
  const step = planStep(config, model, device, maxModelLen);
  const program = buildProgram(inputs, step, 1);
  const maxArenaBytes = device.info.limits.maxTensorBytes;
  const arenas = planMemory(program, { alignment: 256, maxArenaBytes }).arenas;
  const ofStage = { ...model, numLayers: layersPerStage(model, device.info.stages) };
  const adapters = adapterTensors(ofStage, loraShape(config, device), inputs.dtypes);
  const shared = [...Object.values(stateTensors(step.rowState, model.vocabSize)), ...adapters];
  const state = shared.map(({ dtype, shape }) => shapeBytes(dtype, maximalShape(shape, step.maxSizes)));
  const tables = ropeTables(model).map(({ rope }) => 4 * rope.rotaryDim * step.rowState.maxModelLen);
  const sampler = 4 * model.vocabSize * step.maxSizes.samples;
  return [...arenas, ...state, ...tables, sampler, 4 * MAX_DELTA_WORDS].reduce((sum, bytes) => sum + bytes, 0);
}
