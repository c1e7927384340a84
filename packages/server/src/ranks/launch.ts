import { ConfigError, type EngineConfig } from '@quire/core';
import { type Environment, type RankPlace, rankPlace } from './launcher.ts';

export type LaunchOptions = Partial<
  Pick<EngineConfig, 'tensorParallelSize' | 'pipelineParallelSize' | 'distributedExecutorBackend'>
>;

/** The place of this process, and how many ranks its machine has from this one on. */
export interface ProcessPlace extends RankPlace {
  /** Above 1 where a launcher has started one process for a machine of several GPUs: it starts the others itself. */
  readonly numLocal: number;
}

/**
 * The place of this process in a group of processes, one per rank; null: the group's ranks are threads of this process. Ranks are
 * processes where a launcher has started several, and the model is divided among more than one device, unless the executor is
 * `uni`. Of machines that a launcher gives one process, each has the same number of neighbouring ranks.
 * @throws ConfigError when the launcher has started another number of processes than there are ranks, or none where
 * `external_launcher` asks for one; LauncherError when its variables are wrong.
 */
export function placeOfProcess(options: LaunchOptions, environment: Environment): ProcessPlace | null {
  const { tensorParallelSize = 1, pipelineParallelSize = 1, distributedExecutorBackend: backend = null } = options;
  const ranks = tensorParallelSize * pipelineParallelSize;
  if (ranks === 1 || backend === 'uni') return null;
  const place = rankPlace(environment);
  if (place !== null && place.size === ranks) return { ...place, numLocal: 1 };
  if (place?.isOnePerMachine && place.size > 1 && ranks % place.size === 0) {
    const numLocal = ranks / place.size;
    return { ...place, rank: place.rank * numLocal, size: ranks, numLocal };
  }
  const asked = `tensorParallelSize ${tensorParallelSize} times pipelineParallelSize ${pipelineParallelSize} is ${ranks}`;
  if (place !== null && place.size > 1) {
    throw new ConfigError(
      `${asked}, but ${place.launcher} has started ${place.size} processes: start one per rank, or set distributedExecutorBackend to uni for a whole group in each process.`,
      tensorParallelSize > 1 ? 'tensorParallelSize' : 'pipelineParallelSize',
    );
  }
  if (backend === 'external_launcher') {
    const found = place === null ? 'found no variables of one' : `${place.launcher} has started 1 process`;
    throw new ConfigError(
      `distributedExecutorBackend is external_launcher, but ${found}. Start ${ranks} processes with torchrun, srun, mpirun or a LeaderWorkerSet.`,
      'distributedExecutorBackend',
    );
  }
  return null;
}
