import type { CacheDType, Device, FloatDType } from '../contract/contract.ts';
import { ConfigError } from '../errors.ts';
import type { ModelConfig } from '../models/config.ts';
import { type LoraShape, type Quantization, widestActivation } from '../models/index.ts';
import type { KvBudget } from './kv-cache-size.ts';

/** What the worker needs to know of the engine's configuration; EngineConfig has all of it. null: decided here. */
export interface WorkerConfig {
  /** Dtype of weights and activations; auto: the checkpoint's. See `chooseDTypes` for where activations are f32 all the same. */
  readonly dtype: 'auto' | 'f32' | 'f16' | 'bf16';
  /** How matrices of linear layers are quantised on load, or are in the checkpoint. Default: as they are. */
  readonly quantization?: Quantization | null;
  readonly seed: bigint;
  readonly maxModelLen: number | null;
  readonly blockSize: number;
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  /** auto: that of the activations. */
  readonly kvCacheDtype: 'auto' | FloatDType | CacheDType;
  readonly kvCacheMemoryBytes: number | null;
  /** Usable KV blocks: the null block is not counted. */
  readonly numGpuBlocksOverride: number | null;
  /** -1: as many as the vocabulary holds. */
  readonly maxLogprobs: number;
  readonly runAhead: number;
  readonly numSchedulerSteps: number;
  /** Share of the device's memory that the engine may fill, weights and cache together. Default 0.9. */
  readonly gpuMemoryUtilization?: number;
  /** Capture graphs when a batch first needs them. null, the default: on devices in software, which take long to run every size. */
  readonly lazyGraphs?: boolean | null;
  /** GiB of host memory for KV blocks that leave the device. Default 0. */
  readonly swapSpace?: number;
  /** Positions whose logits may be computed in one step. Default: maxNumSeqs, at least 64. */
  readonly maxSamples?: number;
  /** Make room for adapters: as many at once, of this rank at most. Default: none. */
  readonly enableLora?: boolean;
  readonly maxLoras?: number;
  readonly maxLoraRank?: number;
}

const SOFTWARE_CAP_BYTES = 256 * 2 ** 20;
const HARDWARE_CAP_BYTES = 2 ** 30;
const DEFAULT_UTILIZATION = 0.9;
const DEFAULT_LORAS = 1;
const DEFAULT_LORA_RANK = 16;

/** Words of a row's bias list: OpenAI's 300 logit biases and a generous number of stop ids. */
export const MAX_BIAS_WORDS = 1024;

/** Longest request to plan for, and whether it may be shortened to fit the cache. */
export function wantedModelLen(config: WorkerConfig, model: ModelConfig): { length: number; fit: boolean } {
  if (config.maxModelLen === null) return { length: model.maxPositionEmbeddings, fit: true };
  const longest = longestModelLen(model);
  if (config.maxModelLen <= longest) return { length: config.maxModelLen, fit: false };
  throw new ConfigError(
    `maxModelLen is ${config.maxModelLen}, but the model knows ${longest} positions. Lower it to at most ${longest}.`,
    'maxModelLen',
  );
}

/** Positions that a model takes, with its scaling of rotary positions. */
export function longestModelLen({ maxPositionEmbeddings, rope }: ModelConfig): number {
  const scaling = rope?.scaling;
  if (scaling?.type === 'yarn')
    return Math.max(maxPositionEmbeddings, Math.floor(scaling.originalMaxPositions * scaling.factor));
  const stretch = scaling?.type === 'linear' || scaling?.type === 'dynamic' ? scaling.factor : 1;
  return Math.floor(maxPositionEmbeddings * stretch);
}

/** Room for adapters, or null. Throws ConfigError where the device has none to give. */
export function loraShape(config: WorkerConfig, { info }: Device): LoraShape | null {
  if (config.enableLora !== true) return null;
  const offered = [info.dtypes.prepareAdapters, info.dtypes.loraLinear].find(entry => 'unsupported' in entry);
  if (offered !== undefined && 'unsupported' in offered) {
    throw new ConfigError(`enableLora is true, but ${info.name} cannot: ${offered.unsupported}.`, 'enableLora');
  }
  return { slots: config.maxLoras ?? DEFAULT_LORAS, rank: config.maxLoraRank ?? DEFAULT_LORA_RANK };
}

/** Throws ConfigError when a tensor of all adapters is above what the device binds. */
export function checkLoraTensors(tensors: readonly { name: string; bytes: number }[], { info }: Device): void {
  const { maxTensorBytes } = info.limits;
  const large = tensors.find(({ bytes }) => bytes > maxTensorBytes);
  if (large === undefined) return;
  throw new ConfigError(
    `All adapters together take ${large.bytes} bytes in ${large.name}, but this device binds at most ${maxTensorBytes} bytes at ` +
      'once. Lower maxLoras or maxLoraRank.',
    'maxLoras',
  );
}

/** Whether the size of the cache follows from what the device has left. */
export function fillsDevice({ numGpuBlocksOverride, kvCacheMemoryBytes }: WorkerConfig, device: Device): boolean {
  return numGpuBlocksOverride === null && kvCacheMemoryBytes === null && device.info.memory !== null;
}

/** Whether graphs are captured before the first request. */
export function preparesGraphs({ lazyGraphs }: WorkerConfig, device: Device): boolean {
  return !(lazyGraphs ?? device.info.capabilities.software);
}

/**
 * Memory for the cache: as the configuration says, else from the device's memory as it is now (weights are loaded; `reserveBytes`
 * will be taken by everything beside weights and cache), else unknown.
 */
export function kvBudget(config: WorkerConfig, device: Device, reserveBytes: () => number): KvBudget {
  if (config.numGpuBlocksOverride !== null) return { kind: 'blocks', blocks: config.numGpuBlocksOverride };
  if (config.kvCacheMemoryBytes !== null) {
    return { kind: 'bytes', bytes: config.kvCacheMemoryBytes, source: 'kvCacheMemoryBytes' };
  }
  const { memory, capabilities } = device.info;
  if (memory === null) {
    return { kind: 'unknown', capBytes: capabilities.software ? SOFTWARE_CAP_BYTES : HARDWARE_CAP_BYTES };
  }
  const used = memory.total - memory.free;
  const share = config.gpuMemoryUtilization ?? DEFAULT_UTILIZATION;
  const bytes = Math.max(memory.total * share - used - reserveBytes(), 0);
  return { kind: 'bytes', bytes, source: `the memory left on ${device.info.name}` };
}

/** KV blocks that the host memory set aside holds. Throws ConfigError where the device cannot move blocks. */
export function hostBlocks(config: WorkerConfig, device: Device, blockBytes: number): number {
  const { swapSpace = 0 } = config;
  if (swapSpace === 0) return 0;
  if (device.info.capabilities.hostTier) return Math.floor((swapSpace * 2 ** 30) / blockBytes);
  throw new ConfigError(
    `swapSpace is ${swapSpace}, but ${device.info.name} cannot move KV blocks to host memory. Set it to 0.`,
    'swapSpace',
  );
}

/** Budgets of a step, lowered to what the device can bind. */
export function stepBudgets(config: WorkerConfig, model: ModelConfig, device: Device, maxModelLen: number) {
  const { maxTensorBytes } = device.info.limits;
  const fitting = (bytesEach: number) => Math.floor(maxTensorBytes / bytesEach);
  const maxLogprobs = Math.min(config.maxLogprobs < 0 ? model.vocabSize : config.maxLogprobs, model.vocabSize);
  const maxNumBatchedTokens = Math.min(
    config.maxNumBatchedTokens,
    config.maxNumSeqs * maxModelLen,
    fitting(4 * widestActivation(model)),
  );
  // A row's token ids, biases and mask are rows of tensors; log-probabilities take two words more than the logits at most.
  const rowBytes = 4 * Math.max(maxModelLen, MAX_BIAS_WORDS, Math.ceil(model.vocabSize / 32));
  const maxNumSeqs = Math.min(config.maxNumSeqs, maxNumBatchedTokens, fitting(rowBytes));
  const wantedSamples = model.pooling === null ? (config.maxSamples ?? Math.max(maxNumSeqs, 64)) : 1;
  const maxSamples = Math.min(wantedSamples, maxNumBatchedTokens, fitting(4 * (model.vocabSize + 2)));
  if (maxNumSeqs < 1 || maxSamples < 1) {
    throw new ConfigError(
      `This device binds at most ${maxTensorBytes} bytes at once, too few for one row of logits (${4 * model.vocabSize} ` +
        `bytes), of activations (${4 * widestActivation(model)} bytes) or of a request's state (${rowBytes} bytes).`,
    );
  }
  const ringSlots = 2 ** Math.ceil(Math.log2(Math.max(16, (config.runAhead + 1) * config.numSchedulerSteps)));
  return { maxLogprobs, maxNumBatchedTokens, maxNumSeqs, maxSamples, ringSlots };
}
