import { setTimeout as delay } from 'node:timers/promises';
import { ConfigError, type EngineConfig } from '@quire/core';
import { type Device, DeviceLostError } from '@quire/core/contract';
import { DeviceGroup, type FromRank, openRemoteDevice, type ToRank } from '@quire/core/group';
import { cardOf } from './card.ts';
import type { RankPlace } from './launcher.ts';
import { type Meeting, meetRanks, RankLostError } from './meeting.ts';
import { endDevice, gridPlace, type OwnRank, portTo, type RankGrid, type RankMember } from './port.ts';

/** Settles when the group that this process led is at an end for a reason. The ranks of a launch meet once. */
let reportEnd: (error: DeviceLostError) => void = () => {};
export const ranksEnded: Promise<DeviceLostError> = new Promise(resolve => {
  reportEnd = resolve;
});
/** Milliseconds that devices of a group get to end. */
const DISPOSAL_MS = 20_000;
/** Where this process has led a group, and what became of it. */
const led = new Map<string, string>();

/**
 * Rank 0 of a group of processes: waits for the others, and makes one Device of all. They do what it asks of them, and fill their
 * weights from their own files. `open`: the device of this process.
 * @throws RankLostError when they do not come or do not fit; DeviceError when a device fails, with its rank and host;
 * DeviceLostError when this process has led a group before: the other ranks are gone with it.
 */
export async function leadGroup(
  place: RankPlace,
  grid: RankGrid,
  options: Partial<EngineConfig>,
  open: (kind: RankGrid['kind']) => Promise<OwnRank>,
): Promise<Device> {
  const address = `${place.leader.host}:${place.leader.port}`;
  const reason = led.get(address);
  if (reason !== undefined) throw new DeviceLostError(`The group of ranks is at an end. ${reason}`);
  const config = checkedConfig(options, place);
  led.set(address, 'It was disposed of: start all ranks again.');
  const card = await cardOf(grid.kind, config);
  const own = await open(grid.kind);
  let meeting: Meeting | null = null;
  try {
    tell(`rank 0 of ${place.size} (${place.launcher}) waits for the others on port ${place.leader.port}`);
    meeting = await meetRanks(place, card, { onRefused: problem => tell(`refused: ${problem}`) });
    const group = await gather(meeting, place, grid, own);
    void group.lost.then(error => led.set(address, error.message));
    return group;
  } catch (error) {
    const { message } = error as Error;
    led.set(address, message);
    meeting?.fail(message);
    if (await endDevice(own, message)) await endProcess(message);
    throw error;
  }
}

/** Nothing else ends a device that waits in NCCL for one that does not come. */
async function endProcess(reason: string): Promise<void> {
  await new Promise(resolve => process.stderr.write(`quire: ${reason}\n`, resolve));
  process.kill(process.pid, 'SIGKILL');
}

function tell(line: string): void {
  process.stderr.write(`quire: ${line}\n`);
}

/** Processes compare the whole configuration of an engine. */
function checkedConfig(options: Partial<EngineConfig>, { launcher, rank, size }: RankPlace): EngineConfig {
  if (options.model === undefined) {
    throw new ConfigError('A group of processes is opened with the configuration of an engine, not alone.', 'model');
  }
  if (rank === 0) return options as EngineConfig;
  throw new ConfigError(
    `${launcher} has made this process rank ${rank} of ${size}, and a program can be rank 0 alone. Start the others with quire serve or quire generate, of the same model and options.`,
    'tensorParallelSize',
  );
}

async function gather(meeting: Meeting, place: RankPlace, grid: RankGrid, own: OwnRank): Promise<Device> {
  const ended = meeting.lost.then(error => Promise.reject(error));
  const opening = [...meeting.peers].map(async ([rank, { host }]) => {
    const who = `Rank ${rank} of ${place.size} on ${host}`;
    const port = portTo<ToRank, FromRank>(meeting, rank);
    return [rank, await named(rank, openRemoteDevice(port, { who, hasFiles: true }))] as const;
  });
  const remotes = new Map(await Promise.race([Promise.all(opening), ended]));
  const members = Array.from({ length: place.size }, (_, index) => remotes.get(index) ?? own.device);
  await Promise.race([joinAll(members, grid, own), ended]);
  const group = new RankGroup(gridOf(members, grid), meeting, members, own);
  void group.lost.then(error => {
    meeting.fail(error.message);
    // Their lines are closed: what waits for an answer, or asks from now on, would wait for ever.
    for (const remote of remotes.values()) remote.lose(error.message);
    reportEnd(error);
  });
  return group;
}

/** By rank: this process's own device first. */
type Members = readonly (Device & RankMember)[];

/** Every rank meets those of its stage, and those of its rank in the other stages. */
async function joinAll(members: Members, grid: RankGrid, own: OwnRank): Promise<void> {
  const { ranks, stages } = grid;
  const usesPeers = ranks > 1 && (await importAll(members, grid));
  const tensorIds = Array.from({ length: stages }, () => own.groupId(ranks));
  const pipelineIds = Array.from({ length: ranks }, () => own.groupId(stages));
  const joining = members.map((member, index) => {
    const { stage, rank } = gridPlace({ rank: index }, grid);
    const tensor = { rank, size: ranks, id: tensorIds[stage]! };
    const pipeline = { rank: stage, size: stages, id: pipelineIds[rank]! };
    const joined = member.joinGroup(tensor, pipeline, usesPeers);
    return member === own.device ? joined : named(index, joined, `Rank ${index} cannot join the group: `);
  });
  await Promise.all(joining);
}

/** The ranks of each stage open one another's memory, to sum there. Whether all of them could; if not, the log says why. */
async function importAll(members: Members, grid: RankGrid): Promise<boolean> {
  try {
    const exports = await settled(members.map(member => member.exportPeer()));
    const importing = members.map((member, index) => {
      const { stage, rank } = gridPlace({ rank: index }, grid);
      return member.importPeers(rank, exports.slice(stage * grid.ranks, (stage + 1) * grid.ranks));
    });
    await settled(importing);
    return true;
  } catch (error) {
    tell(`all sums of the ranks go through NCCL: ${(error as Error).message}`);
    return false;
  }
}

/** Waits for all, also when one fails. */
async function settled<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

/** A failure as that of a rank. */
async function named<T>(rank: number, promise: Promise<T>, doing = ''): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw new RankLostError(rank, `${doing}${(error as Error).message}`);
  }
}

function gridOf(members: Members, { ranks, stages }: RankGrid): Device[][] {
  return Array.from({ length: stages }, (_, stage) => members.slice(stage * ranks, (stage + 1) * ranks));
}

/** A group whose ranks are told when all is done. */
class RankGroup extends DeviceGroup {
  readonly #meeting: Meeting;
  readonly #members: Members;
  #isLost = false;

  constructor(grid: Device[][], meeting: Meeting, members: Members, own: OwnRank) {
    super(grid, reason => own.device.endGroup(reason));
    this.#meeting = meeting;
    this.#members = members;
    void this.lost.then(() => {
      this.#isLost = true;
    });
  }

  override async dispose(): Promise<void> {
    // A device that hangs must not keep the others from hearing that all is done.
    const isLate = delay(DISPOSAL_MS, undefined, { ref: false });
    try {
      await Promise.race([this.#leaveAndDispose(), isLate]);
    } finally {
      this.#meeting.close();
    }
  }

  /** A rank may free what it has exported when no other has it open. Those of a group that was lost let it be. */
  async #leaveAndDispose(): Promise<void> {
    if (!this.#isLost) await Promise.allSettled(this.#members.map(member => member.leaveGroup()));
    await super.dispose();
  }
}
