import { type Device, DeviceError, type DeviceTensor } from '../contract/contract.ts';
import type { EngineConfig } from '../engine/engine-config.ts';
import { chooseRunner } from '../engine/pooler-config.ts';
import { type PlacedWeight, planLoading, type WeightDevice, type WeightPart } from '../models/index.ts';
import { parseModelConfig } from '../models/parse-config.ts';
import type { ModelSource } from '../weights/types.ts';
import { chooseDTypes, weightSupply } from '../worker/index.ts';
import { readCheckpoint } from './read-checkpoint.ts';

export interface RankWeightsOptions {
  /** Of this rank alone. */
  readonly device: Device;
  /** Rank in its stage, ranks of a stage, and stages. */
  readonly rank: number;
  readonly ranks: number;
  readonly stages: number;
  /** The model's files on this machine; open as long as weights may be asked for. */
  readonly source: ModelSource;
  /** The same as that of the rank that plans. */
  readonly config: EngineConfig;
}

/**
 * Fills weights of one rank, by their names, from files of its own: the other end of `Device.fill`. It decides what the rank that
 * plans decides, from the same files and options; a tensor that differs from what comes of that is a DeviceError. Throws as
 * `loadEngine`.
 */
export async function rankWeights(options: RankWeightsOptions): Promise<(tensor: DeviceTensor) => Promise<void>> {
  const { device, rank, ranks, stages, source, config } = options;
  const modelConfig = chooseRunner(await parseModelConfig(source), config.runner, config.poolerConfig);
  const view = asOneOf(device, ranks, stages);
  const { weights, quantization = null } = chooseDTypes(config, modelConfig, view);
  const supply = weightSupply(await readCheckpoint(source, config), config);
  const { layout, upload } = await planLoading(view, modelConfig, supply, weights, quantization);
  const parts = new Map<string, { placed: PlacedWeight; part: WeightPart }>();
  for (const placed of layout.values()) for (const part of placed.parts) parts.set(part.tensor, { placed, part });
  return async tensor => {
    const { name, dtype, shape } = tensor.spec;
    const known = parts.get(name);
    const expected = known && `${known.placed.dtype} [${[known.part.rows, ...known.placed.weight.shape.slice(1)]}]`;
    if (known === undefined || expected !== `${dtype} [${shape}]`) {
      const found = `${dtype} [${shape}]`;
      throw new DeviceError(
        `weight ${name}: rank 0 has ${found}, this rank ${expected ?? 'none'}: their files differ.`,
      );
    }
    await upload(tensor, known.placed, known.part, rank);
  };
}

/** A device as the group sees it that it is one of. */
function asOneOf(device: Device, ranks: number, stages: number): WeightDevice {
  const { uploadFiles } = device;
  return {
    info: { ...device.info, ranks, stages },
    upload: (tensor, chunks) => device.upload(tensor, chunks),
    ...(uploadFiles === undefined ? {} : { uploadFiles: (tensor, pieces) => uploadFiles.call(device, tensor, pieces) }),
  };
}
