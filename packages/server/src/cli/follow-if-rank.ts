import { spawn } from 'node:child_process';
import { hostname } from 'node:os';
import { type EngineConfig, wantedWeights } from '@quire/core';
import { openModelSource } from '../node/model-folder.ts';
import { groupOf, openRank } from '../node/open-device.ts';
import { rankCard } from '../ranks/card.ts';
import { followRank } from '../ranks/follow.ts';
import { type ProcessPlace, placeOfProcess } from '../ranks/launch.ts';
import type { RankPlace } from '../ranks/launcher.ts';
import { bringModel } from './bring-model.ts';
import type { CommandIo } from './command.ts';

/**
 * Where a launcher has started one process per rank, and this one is not rank 0: does what rank 0 asks of it, and resolves with the
 * exit code when that has finished or is gone. null: this process is rank 0, or the only one.
 * @throws ConfigError, LauncherError, RankLostError, ModelFormatError: what keeps it from coming.
 */
export async function followIfRank(
  device: string,
  config: EngineConfig,
  io: CommandIo,
  tell: (line: string) => void,
): Promise<number | null> {
  const place = placeOfProcess(config, io.env);
  if (place !== null) startNeighbours(place, io);
  if (place === null || place.rank === 0) return null;
  const { kind } = groupOf(device, config);
  const who = nameOf(place);
  tell(`${who}: waits for rank 0 at ${place.leader.host}:${place.leader.port}`);
  waitForRankZero(io);
  await bringModel(config, config.model, tell);
  const source = await openModelSource(config.model, { ...config, weights: wantedWeights(config) });
  const card = await rankCard(kind, config, source);
  const { error, isStuck } = await followRank({
    place,
    card,
    config,
    source,
    open: () => openRank(kind, config, place),
    onOpen: ({ info }) => tell(`${who}: follows rank 0 with ${info.name}`),
  });
  await source.close();
  if (error === null) tell(`${who}: rank 0 has finished`);
  else io.err(`quire: ${error.message}\n`);
  // A device that hangs would keep an orderly end waiting.
  if (isStuck) process.kill(process.pid, 'SIGKILL');
  return error === null ? 0 : 1;
}

/** The other ranks of this machine, where its launcher has started one process: this command again, as torchrun would start it. */
function startNeighbours({ rank, size, numLocal, leader }: ProcessPlace, io: CommandIo): void {
  for (let local = 1; local < numLocal; local++) {
    const place = { RANK: rank + local, WORLD_SIZE: size, LOCAL_RANK: local };
    const variables = { ...place, MASTER_ADDR: leader.host, MASTER_PORT: leader.port };
    const env = { ...io.env, ...Object.fromEntries(Object.entries(variables).map(([name, v]) => [name, `${v}`])) };
    const child = spawn(process.execPath, process.argv.slice(1), { stdio: ['ignore', 2, 2], env });
    // Its death is seen by the others, as that of any rank; so is that of this process by it.
    child.on('error', error => io.err(`quire: rank ${rank + local} cannot be started: ${error.message}\n`));
    // Where this process fails before all have met, nobody else tells it.
    process.once('exit', code => code !== 0 && child.kill('SIGKILL'));
    child.unref();
  }
}

function nameOf({ rank, size, launcher }: RankPlace): string {
  return `Rank ${rank} of ${size} (${launcher}) on ${hostname()}, process ${process.pid}`;
}

/** A signal for the whole job is rank 0's, which lets requests finish first; a second one ends at once. */
function waitForRankZero(io: CommandIo): void {
  let isTold = false;
  const numbers = { SIGINT: 2, SIGTERM: 15 } as const;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (isTold) process.exit(128 + numbers[signal]);
      isTold = true;
      io.err(`${signal}: rank 0 finishes first. A second signal ends at once.\n`);
    });
  }
}
