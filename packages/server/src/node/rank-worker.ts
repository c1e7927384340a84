/** The thread of one rank of a group of reference devices. */
import { parentPort, workerData } from 'node:worker_threads';
import { type FromRank, type RankPort, SharedMemoryCommunicator, serveRank, type ToRank } from '@quire/core/group';
import { openReferenceDevice } from '@quire/core/reference';
import type { RankWorkerData } from './reference-group.ts';

const { memory, rank, size, maxTensorBytes } = workerData as RankWorkerData;
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
const communicator = new SharedMemoryCommunicator(memory, rank, size);
const limit = maxTensorBytes === undefined ? {} : { maxTensorBytes };
serveRank(await openReferenceDevice({ communicator, ...limit }), port);
