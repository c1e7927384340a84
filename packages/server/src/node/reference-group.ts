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

/** What the thread of a device is told when it starts. */
export interface RankWorkerData {
  readonly rank: number;
  readonly ranks: number;
  readonly stage: number;
  readonly stages: number;
  /** Shared by the ranks of a stage. */
  readonly tensorMemory: SharedArrayBuffer;
  /** Shared by the devices of one rank in all stages. */
  readonly pipelineMemory: SharedArrayBuffer;
  readonly maxTensorBytes: number | undefined;
}

export interface GroupOptions {
  /** Ranks that divide each weight. Default 1. */
  tensorParallelSize?: number;
  /** Stages that divide the layers. Default 1. */
  pipelineParallelSize?: number;
  maxTensorBytes?: number;
}

/** Node runs compiled files only, also when this one is run from its source. */
const entry = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/node/rank-worker.js' : './rank-worker.js',
  import.meta.url,
);

/** Opens a group of reference devices, each on a thread of its own, that exchange through shared memory. */
export async function openReferenceGroup(options: GroupOptions): Promise<Device> {
  const { tensorParallelSize: ranks = 1, pipelineParallelSize: stages = 1, maxTensorBytes } = options;
  const tensorMemories = Array.from({ length: stages }, () => createSharedMemory(ranks));
  const pipelineMemories = Array.from({ length: ranks }, () => createSharedMemory(stages));
  const workers = tensorMemories.map((tensorMemory, stage) =>
    pipelineMemories.map((pipelineMemory, rank) => {
      const place = { rank, ranks, stage, stages };
      const workerData: RankWorkerData = { ...place, tensorMemory, pipelineMemory, maxTensorBytes };
      // Without the flags of this process: conditions that choose sources would reach the worker too.
      return new Worker(entry, { workerData, name: `stage ${stage} rank ${rank}`, execArgv: [] });
    }),
  );
  try {
    const opening = workers.map(row => Promise.all(row.map(worker => openRemoteDevice(portOf(worker)))));
    return new DeviceGroup(await Promise.all(opening), () => {
      for (const memory of [...tensorMemories, ...pipelineMemories]) endGroup(memory);
    });
  } catch (error) {
    await Promise.all(workers.flat().map(worker => worker.terminate()));
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
