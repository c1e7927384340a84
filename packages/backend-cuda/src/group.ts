import { DeviceError } from '@quire/core/contract';
import type { Addon, GroupPlace } from './addon.ts';
import type { CudaDevice } from './device.ts';

/** GPUs cannot reach one another because NCCL is not there. The message says where it was looked for, and what to do. */
export class NcclUnavailableError extends Error {
  override readonly name = 'NcclUnavailableError';
}

/** Ordinals of the GPUs by stage and rank: the ranks of a stage are neighbours. Throws DeviceError when there are too few. */
export function gridOfOrdinals(stages: number, ranks: number, deviceCount: number): number[][] {
  if (stages * ranks > deviceCount) {
    const wanted = `${ranks} rank${ranks === 1 ? '' : 's'} in each of ${stages} stage${stages === 1 ? '' : 's'}`;
    throw new DeviceError(
      `found ${deviceCount} GPU${deviceCount === 1 ? '' : 's'}, expected ${stages * ranks}: ${wanted}.`,
    );
  }
  return Array.from({ length: stages }, (_, stage) => Array.from({ length: ranks }, (_, rank) => stage * ranks + rank));
}

/** `ordinals`: of the devices, where the ranks of each stage reach one another's memory. Every device meets the ranks of its stage, and those of its rank in the other stages. Resolves when all have met. */
export async function joinGroups(
  addon: Addon,
  grid: readonly (readonly CudaDevice[])[],
  ordinals: readonly (readonly number[])[] | null,
): Promise<void> {
  const [stages, ranks] = [grid.length, grid[0]!.length];
  const tensorIds = grid.map(() => uniqueId(addon, ranks));
  const pipelineIds = grid[0]!.map(() => uniqueId(addon, stages));
  const places = grid.flatMap((row, stage) =>
    row.map((device, rank) => {
      const tensor: GroupPlace = { rank, size: ranks, id: tensorIds[stage]! };
      const pipeline: GroupPlace = { rank: stage, size: stages, id: pipelineIds[rank]! };
      return { device, stage, tensor, pipeline };
    }),
  );
  // One that cannot come must be known before the others wait for it.
  if (ordinals !== null) {
    await all(places.map(({ device, stage, tensor }) => device.enterGroup(tensor, Int32Array.from(ordinals[stage]!))));
  }
  const usesPeers = ordinals !== null && ranks > 1;
  const release = (error: Error) => {
    for (const { device } of places) device.endGroup(error.message);
    throw error;
  };
  const joining = places.map(({ device, tensor, pipeline }) => device.joinGroup(tensor, pipeline, usesPeers));
  await all(joining.map(joined => joined.catch(release)));
}

/** Waits for all, also when one fails. */
async function all(promises: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(promises);
  await Promise.all(promises);
}

/** The GPU of a process: a launcher may show each of its processes one alone. Throws DeviceError when there are too few. */
export function ordinalOfRank(localRank: number, deviceCount: number): number {
  if (deviceCount === 1) return 0;
  if (localRank < deviceCount) return localRank;
  throw new DeviceError(
    `found ${deviceCount} GPUs, expected one for each process of this machine: this is process ${localRank} from 0. Start as many as there are GPUs.`,
  );
}

/** Empty for a group of one. Throws NcclUnavailableError. */
export function uniqueId(addon: Addon, size: number): Uint8Array {
  if (size === 1) return new Uint8Array();
  try {
    return addon.uniqueId();
  } catch (cause) {
    const found = (cause as Error).message;
    const advice = 'Install it (package libnccl2 of NVIDIA, or nvidia-nccl-cu13 with pip), or take one GPU';
    throw new NcclUnavailableError(`GPUs of a group meet through NCCL (libnccl.so.2): ${found}. ${advice}.`, { cause });
  }
}
