import { setTimeout as delay } from 'node:timers/promises';
import { type EngineConfig, type ModelSource, rankWeights } from '@quire/core';
import type { Device, DeviceTensor } from '@quire/core/contract';
import { type FromRank, serveRank, type ToRank } from '@quire/core/group';
import type { RankPlace } from './launcher.ts';
import { type Card, type Meeting, meetRanks } from './meeting.ts';
import { endDevice, gridPlace, type OwnRank, portTo } from './port.ts';

/** Rank 0 is told first when a device fails, and says so to all; it has so long. */
const TOLD_MS = 5_000;

export interface FollowOptions {
  readonly place: RankPlace;
  readonly card: Card;
  readonly config: EngineConfig;
  /** The model's files on this machine. */
  readonly source: ModelSource;
  /** Opens the device of this process. */
  readonly open: () => Promise<OwnRank>;
  /** Told when all ranks have come, and the device is open. */
  readonly onOpen: (device: Device) => void;
}

/** How a rank's work ended. */
export interface FollowEnd {
  /** null: rank 0 said that all is done. Otherwise RankLostError, or the error of the device. */
  readonly error: Error | null;
  /** The device does not come back: only the end of the process ends it. */
  readonly isStuck: boolean;
}

/**
 * A rank that is not the first: does on its device what rank 0 asks of it, until that says that all is done.
 * @throws RankLostError when the group does not come together; the error of a device that cannot be opened.
 */
export async function followRank(options: FollowOptions): Promise<FollowEnd> {
  const meeting = await meetRanks(options.place, options.card);
  const port = portTo<FromRank, ToRank>(meeting, 0);
  let own: OwnRank;
  try {
    own = await options.open();
  } catch (error) {
    const { message } = error as Error;
    port.post({ kind: 'lost', error: { message, op: undefined, lost: true } });
    await Promise.race([meeting.lost, delay(TOLD_MS)]);
    throw error;
  }
  options.onOpen(own.device);
  serveRank(own.device, port, {
    exportPeer: () => own.device.exportPeer(),
    importPeers: (rank, exports) => own.device.importPeers(rank, exports),
    join: (tensor, pipeline, usesPeers) => own.device.joinGroup(tensor, pipeline, usesPeers),
    leave: () => own.device.leaveGroup(),
    fill: lazyFill(options, own),
  });
  const error = await untilOver(meeting, own).then(
    () => null,
    (reason: Error) => reason,
  );
  const isStuck = await endDevice(own, error?.message ?? 'Rank 0 has finished.');
  meeting.close();
  return { error, isStuck };
}

function lazyFill({ place, config, source }: FollowOptions, { device }: OwnRank) {
  const { tensorParallelSize: ranks, pipelineParallelSize: stages } = config;
  const { rank } = gridPlace(place, { ranks });
  let filler: ReturnType<typeof rankWeights> | null = null;
  return async (tensor: DeviceTensor) => {
    filler ??= rankWeights({ device, rank, ranks, stages, source, config });
    await (await filler)(tensor);
  };
}

async function untilOver(meeting: Meeting, { device }: OwnRank): Promise<void> {
  const lost = meeting.lost.then(error => Promise.reject(error));
  const failed = device.lost.then(async error => {
    await Promise.race([lost, delay(TOLD_MS)]);
    throw error;
  });
  await Promise.race([meeting.over, lost, failed]);
}
