import { Worker } from 'node:worker_threads';
import type { Device } from '@quire/core/contract';
import {
  createSharedMemory,
  DeviceGroup,
  endGroup,
  type FromRank,
  openRemoteDevice,
  type RankPort,
  type ToRank,
} from '@quire/core/group';

/** What the thread of a rank is told when it starts. */
export interface RankWorkerData {
  readonly memory: SharedArrayBuffer;
  readonly rank: number;
  readonly size: number;
  readonly maxTensorBytes: number | undefined;
}

/** Node runs compiled files only, also when this one is run from its source. */
const entry = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/node/rank-worker.js' : './rank-worker.js',
  import.meta.url,
);

/** Opens `size` reference devices, each on a thread of its own, that exchange through shared memory. */
export async function openReferenceGroup(size: number, options: { maxTensorBytes?: number } = {}): Promise<Device> {
  const memory = createSharedMemory(size);
  const workers = Array.from({ length: size }, (_, rank) => {
    const workerData: RankWorkerData = { memory, rank, size, maxTensorBytes: options.maxTensorBytes };
    // Without the flags of this process: conditions that choose sources would reach the worker too.
    return new Worker(entry, { workerData, name: `rank ${rank}`, execArgv: [] });
  });
  try {
    const ranks = await Promise.all(workers.map(worker => openRemoteDevice(portOf(worker))));
    return new DeviceGroup(ranks, () => endGroup(memory));
  } catch (error) {
    await Promise.all(workers.map(worker => worker.terminate()));
    throw error;
  }
}

function portOf(worker: Worker): RankPort<ToRank, FromRank> {
  return {
    post: message => worker.postMessage(message),
    listen(onMessage, onGone) {
      worker.on('message', onMessage);
      worker.on('error', error => onGone(`its thread failed: ${(error as Error).message}`));
      worker.on('exit', code => onGone(`its thread ended with code ${code}`));
    },
    async close() {
      await worker.terminate();
    },
  };
}
