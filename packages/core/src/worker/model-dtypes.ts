import type { CacheDType, Device, DType, FloatDType, QuantDType } from '../contract/contract.ts';
import { ConfigError } from '../errors.ts';
import type { ModelConfig } from '../models/config.ts';
import {
  architectureOf,
  buildModelProgram,
  checkMethod,
  isPackedMethod,
  planShards,
  planWeights,
  shardConfig,
  shardWeights,
} from '../models/index.ts';
import { noSizes, offers } from '../program/index.ts';
import type { WorkerConfig } from './worker-config.ts';

type InfoOnly = Pick<Device, 'info'>;

/** What a model is stored and computed in on a device. */
export interface ModelDTypes {
  /** auto: each weight keeps the checkpoint's dtype. A weight that the device does not offer so becomes f32. */
  readonly weights: FloatDType | 'auto';
  readonly activations: FloatDType;
  readonly kvCache: FloatDType | CacheDType;
  /** Of the matrices of linear layers. Absent: as the other weights. */
  readonly quantization?: QuantDType;
}

/**
 * As in vLLM, `dtype` is that of weights, activations and KV cache. Two things keep activations in f32: a device that does not
 * offer every op of the model with 16-bit activations (a request for f16 or bf16 then means how weights are stored), and, unless
 * a dtype is asked for by name, a device in software, which gains nothing from 16 bits. Throws ConfigError for a KV cache that the
 * device does not offer, and for a quantization that is not the checkpoint's.
 */
export function chooseDTypes(
  config: Pick<WorkerConfig, 'dtype' | 'kvCacheDtype' | 'quantization' | 'enableLora'>,
  model: ModelConfig,
  device: InfoOnly,
): ModelDTypes {
  const { software } = device.info.capabilities;
  const wanted = config.dtype === 'auto' ? model.dtype : config.dtype;
  const asked = config.dtype !== 'auto' || !software;
  const narrow = wanted !== 'f32' && asked && offersModel(device, model, wanted, config.enableLora === true);
  const activations = narrow ? wanted : 'f32';
  const kvCache =
    config.kvCacheDtype === 'auto' ? autoCache(activations, wanted, device) : checkedCache(config.kvCacheDtype, device);
  const { quantization = null } = config;
  checkMethod(quantization, model);
  return {
    weights: narrow ? wanted : config.dtype,
    activations,
    kvCache,
    ...(quantization !== null && !isPackedMethod(quantization) && { quantization }),
  };
}

/** Where a GPU computes a 16-bit model in f32 for want of an offer, the cache still takes half the memory at little cost. */
function autoCache(activations: FloatDType, wanted: FloatDType, device: InfoOnly): FloatDType {
  const storesHalf = wanted !== 'f32' && !device.info.capabilities.software && offersCache(device, 'f16');
  return activations === 'f32' && storesHalf ? 'f16' : activations;
}

function checkedCache(asked: FloatDType | CacheDType, device: InfoOnly): FloatDType | CacheDType {
  const offered = (['f32', 'f16', 'bf16', 'i8', 'f8e4m3'] as const).filter(dtype => offersCache(device, dtype));
  if ((offered as readonly DType[]).includes(asked)) return asked;
  throw new ConfigError(
    `kvCacheDtype ${asked} is not offered by ${device.info.name}. It offers ${offered.join(', ')}.`,
    'kvCacheDtype',
  );
}

function offersCache(device: InfoOnly, dtype: DType): boolean {
  return (['kvWrite', 'ropeKvWrite', 'pagedAttention'] as const).every(op => {
    const entry = device.info.dtypes[op];
    return !('unsupported' in entry) && (entry.kv?.includes(dtype) ?? false);
  });
}

/** Whether a device offers every op of a model with weights, activations and cache of one dtype. All layers have the same ops. */
function offersModel({ info }: InfoOnly, model: ModelConfig, dtype: FloatDType, hasAdapters: boolean): boolean {
  const oneLayer = { ...model, numLayers: 1 };
  const shards = planShards(oneLayer, info.ranks);
  const weights = shardWeights(architectureOf(oneLayer).weights(oneLayer), shards);
  const { ops, ...program } = buildModelProgram(shardConfig(oneLayer, shards), {
    maxSizes: { ...noSizes, tokens: 1, sequences: 1, samples: 1 },
    rowState: { maxRows: 1, maxBlocksPerSequence: 1, maxModelLen: 1, ringSlots: 1, maxBiasWords: 1 },
    weights: planWeights(weights, () => dtype, info.limits.maxTensorBytes),
    blockSize: 1,
    numBlocks: 2,
    activationDtype: dtype,
    kvDtype: dtype,
    lora: hasAdapters ? { slots: 1, rank: 1 } : null,
    ranks: info.ranks,
  });
  return ops.every(op => offers(info.dtypes, op, { ...program, ops }) === true);
}
