import { type Device, shapeBytes } from '../contract/contract.ts';
import type { ModelConfig } from '../models/config.ts';
import { planLoading, planShards, shardConfig, type WeightLayout } from '../models/index.ts';
import type { Checkpoint } from '../weights/types.ts';
import { chooseDTypes } from './model-dtypes.ts';
import { checkWorkerConfig, estimateWorkingBytes, planModel } from './model-plan.ts';
import type { WorkerConfig } from './worker-config.ts';

/** Bytes on one rank of a device. */
export interface MemoryNeed {
  readonly weights: number;
  readonly kvCache: number;
  /** Temporaries, row state and tables: estimated, as at start-up. */
  readonly working: number;
}

/**
 * What a model will take of a device, from its configuration and the headers of its checkpoint alone: no weight is read, and
 * nothing is allocated. Rejects with what loading it would: ConfigError for what has no room under the device's limits, ModelFormatError
 * for a checkpoint that does not fit the configuration.
 */
export async function memoryNeed(
  engineConfig: WorkerConfig,
  modelConfig: ModelConfig,
  checkpoint: Checkpoint,
  device: Device,
): Promise<MemoryNeed> {
  const dtypes = chooseDTypes(engineConfig, modelConfig, device);
  const config = shardConfig(modelConfig, planShards(modelConfig, device.info.ranks));
  checkWorkerConfig(engineConfig, config, device, dtypes);
  const { layout: weights } = await planLoading(
    device,
    modelConfig,
    { checkpoint },
    dtypes.weights,
    dtypes.quantization ?? null,
  );
  const inputs = { config: engineConfig, model: config, device, dtypes, weights };
  const { kvCache } = planModel(inputs, null);
  return {
    weights: layoutBytes(weights),
    kvCache: kvCache.bytes,
    working: estimateWorkingBytes(inputs, kvCache.maxModelLen),
  };
}

function layoutBytes(layout: WeightLayout): number {
  let bytes = 0;
  for (const { weight, dtype, parts } of layout.values()) {
    for (const { rows } of parts) bytes += shapeBytes(dtype, [rows, ...weight.shape.slice(1)]);
  }
  return bytes;
}
