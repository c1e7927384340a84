import { setTimeout as delay } from 'node:timers/promises';
import type { Device } from '@quire/core/contract';
import type { GroupPlace, RankPort } from '@quire/core/group';
import type { RankPlace } from './launcher.ts';
import type { Meeting } from './meeting.ts';
import { decodeMessage, encodeMessage } from './messages.ts';

/** How a rank meets the others, in this process or in another one. */
export interface RankMember {
  /** What the other ranks of its stage must have to open the memory of its device. */
  exportPeer(): Promise<Uint8Array>;
  /** Opens what all ranks of its stage export, in their order. Rejects with the reason where that cannot be. */
  importPeers(rank: number, exports: readonly Uint8Array[]): Promise<void>;
  /** Resolves when all have come. `usesPeers`: all of its stage have imported. */
  joinGroup(tensor: GroupPlace, pipeline: GroupPlace, usesPeers: boolean): Promise<void>;
  /** The group ends in order: closes what was imported, before any rank is disposed of. */
  leaveGroup(): Promise<void>;
}

/** The device of a process that is one rank, and how it gets to the others. */
export interface OwnRank {
  readonly device: Device & RankMember & { endGroup(reason: string): void };
  /** What the members of a group of so many need to find one another. */
  groupId(size: number): Uint8Array;
}

/** Which devices, and how many: rank 0 is the first of the first stage, and the ranks of a stage are neighbours. */
export interface RankGrid {
  readonly kind: 'cuda' | 'cuda-emu';
  readonly ranks: number;
  readonly stages: number;
}

export function gridPlace(
  { rank }: Pick<RankPlace, 'rank'>,
  { ranks }: Pick<RankGrid, 'ranks'>,
): { stage: number; rank: number } {
  return { stage: Math.floor(rank / ranks), rank: rank % ranks };
}

/** What waits for a rank that is gone may not come back. */
const DISPOSAL_MS = 10_000;

/** Lets go of the others and frees the device. Resolves with whether it is stuck: only the end of the process ends it then. */
export async function endDevice({ device }: OwnRank, reason: string): Promise<boolean> {
  device.endGroup(reason);
  const disposed = device.dispose().then(() => false);
  return Promise.race([disposed, delay(DISPOSAL_MS, true, { ref: false })]);
}

/** The way to a rank, as bytes over the meeting. */
export function portTo<Out, In>(meeting: Meeting, rank: number): RankPort<Out, In> {
  const peer = meeting.peers.get(rank)!;
  return {
    post: message => peer.send(encodeMessage(message)),
    listen(onMessage, onGone) {
      peer.listen(bytes => onMessage(decodeMessage(bytes) as In));
      void meeting.lost.then(error => {
        // Others may be at fault, and are told of by name.
        if (error.rank === null || error.rank === rank || meeting.peers.size === 1) onGone(error.message);
      });
    },
    async close() {},
  };
}
