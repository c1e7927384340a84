/** The thread of one device of a group of reference devices. */
import { parentPort, workerData } from 'node:worker_threads';
import { type FromRank, type RankPort, SharedMemoryCommunicator, serveRank, type ToRank } from '@quire/core/group';
import { openReferenceDevice } from '@quire/core/reference';
import type { RankWorkerData } from './reference-group.ts';

const { rank, ranks, stage, stages, tensorMemory, pipelineMemory, maxTensorBytes } = workerData as RankWorkerData;
const parent = parentPort!;
const port: RankPort<FromRank, ToRank> = {
  post: message => parent.postMessage(message),
  listen(onMessage, onGone) {
    parent.on('message', onMessage);
    parent.on('close', () => onGone('the planning thread has ended'));
  },
  async close() {
    parent.close();
  },
};
const communicators = {
  tensor: new SharedMemoryCommunicator(tensorMemory, rank, ranks),
  pipeline: new SharedMemoryCommunicator(pipelineMemory, stage, stages),
};
const limit = maxTensorBytes === undefined ? {} : { maxTensorBytes };
serveRank(await openReferenceDevice({ communicators, ...limit }), port);
