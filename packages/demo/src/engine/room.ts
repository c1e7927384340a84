import { type EngineConfig, type ModelSource, memoryNeed, openCheckpoint, parseModelConfig } from '@quire/core';
import { type Device, DeviceError, type DeviceTensor } from '@quire/core/contract';
import { bytes } from '../format.ts';

/** What browsers tell at most, of machines that may have more. */
const MOST_TOLD = 8;

/** Bytes of this machine, where the browser tells them; pages of weights that are never touched cost a processor nothing at first. */
export function machineBytes(): number {
  const { deviceMemory: gibibytes = MOST_TOLD } = navigator as { deviceMemory?: number };
  return gibibytes < MOST_TOLD ? gibibytes * 2 ** 30 : Number.POSITIVE_INFINITY;
}

/**
 * Whether a model has room on a device, from the headers of its weights. WebGPU tells no memory: after the plan, which knows the
 * limits of the adapter, as much as it asks for is taken for a moment. `most`: bytes of the machine. Throws DeviceError where there
 * is not enough, and what planning throws.
 */
export async function checkRoom(
  source: ModelSource,
  config: EngineConfig,
  device: Device,
  most = Number.POSITIVE_INFINITY,
): Promise<void> {
  const { weights, kvCache, working } = await memoryNeed(
    config,
    await parseModelConfig(source),
    await openCheckpoint(source),
    device,
  );
  const need = weights + kvCache + working;
  try {
    if (need > most) throw new DeviceError(`this machine has ${bytes(most)}`);
    await takeForAMoment(device, need);
  } catch (cause) {
    const parts = `${bytes(weights)} of weights, ${bytes(kvCache)} of KV cache and ${bytes(working)} to work with`;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new DeviceError(
      `The model needs ${bytes(need)} on ${device.info.name}: ${parts}. That is more than there is (${why}). Take a smaller model, or one with weights of fewer bits.`,
    );
  }
}

/** Browsers make no buffers of any size for a processor. */
const LARGEST_PIECE = 2 ** 28;

async function takeForAMoment(device: Device, need: number): Promise<void> {
  const largest = Math.min(device.info.limits.maxTensorBytes, LARGEST_PIECE);
  const taken: DeviceTensor[] = [];
  try {
    for (let left = need; left > 0; left -= largest) {
      const words = Math.ceil(Math.min(left, largest) / 4);
      taken.push(device.createTensor({ name: `room${taken.length}`, dtype: 'u32', shape: [words], usage: 'state' }));
    }
    await device.synchronize();
  } finally {
    for (const tensor of taken) tensor.dispose();
  }
}
