import { QuireError } from '@quire/core';

/**
 * The place of this process among those that a launcher has started together, one per GPU, from the environment variables that
 * the launcher sets: those of torchrun, Slurm's srun, Open MPI's mpirun, and Kubernetes' LeaderWorkerSet.
 */

/** A launcher's variables that are missing, malformed or contradict one another. `variable` names the first. */
export class LauncherError extends QuireError {
  override readonly name = 'LauncherError';
  readonly variable: string;
  constructor(variable: string, message: string) {
    super('launcher', message);
    this.variable = variable;
  }
}

export interface RankPlace {
  readonly launcher: string;
  readonly rank: number;
  /** Processes in all. */
  readonly size: number;
  /** Among the processes of this machine: the index of its GPU. */
  readonly localRank: number;
  /** The launcher starts one process on each machine, whatever that has of GPUs. */
  readonly isOnePerMachine: boolean;
  /** Where rank 0 listens. */
  readonly leader: { readonly host: string; readonly port: number };
}

export type Environment = Readonly<Record<string, string | undefined>>;

interface Launcher {
  readonly name: string;
  /** Set in processes of this launcher and nowhere else. */
  readonly mark: string;
  readonly rank: string;
  readonly size: string;
  /** null: one process per machine. */
  readonly localRank: string | null;
  readonly host: string;
}

/** In the order in which they are looked for: torchrun may itself be started by one of the others. */
const launchers: readonly Launcher[] = [
  {
    name: 'torchrun',
    mark: 'LOCAL_RANK',
    rank: 'RANK',
    size: 'WORLD_SIZE',
    localRank: 'LOCAL_RANK',
    host: 'MASTER_ADDR',
  },
  {
    name: 'mpirun',
    mark: 'OMPI_COMM_WORLD_RANK',
    rank: 'OMPI_COMM_WORLD_RANK',
    size: 'OMPI_COMM_WORLD_SIZE',
    localRank: 'OMPI_COMM_WORLD_LOCAL_RANK',
    host: 'MASTER_ADDR',
  },
  {
    name: 'LeaderWorkerSet',
    mark: 'LWS_WORKER_INDEX',
    rank: 'LWS_WORKER_INDEX',
    size: 'LWS_GROUP_SIZE',
    localRank: null,
    host: 'LWS_LEADER_ADDRESS',
  },
  // A batch script has SLURM_PROCID too, but is no step of srun.
  {
    name: 'srun',
    mark: 'SLURM_STEP_ID',
    rank: 'SLURM_PROCID',
    size: 'SLURM_NTASKS',
    localRank: 'SLURM_LOCALID',
    host: 'MASTER_ADDR',
  },
];

/** Of torchrun, and what the others' jobs are told to use when MASTER_PORT does not say. */
const DEFAULT_PORT = 29_500;
/** Before a step has a number, Slurm numbers those of batch scripts and allocations from here. */
const MOST_STEPS = 0xffff_fff0;

/**
 * null where no launcher has started this process.
 * @throws LauncherError when its variables are missing or wrong.
 */
export function rankPlace(environment: Environment): RankPlace | null {
  const launcher = launchers.find(candidate => isStartedBy(candidate, environment));
  if (launcher === undefined) return null;
  const integer = (variable: string, least: number, end: number) =>
    readInteger(launcher, environment, variable, least, end);
  const size = integer(launcher.size, 1, 65_536);
  const rank = integer(launcher.rank, 0, size);
  const localRank = launcher.localRank === null ? 0 : integer(launcher.localRank, 0, size);
  const given = environment.MASTER_PORT === undefined ? DEFAULT_PORT : integer('MASTER_PORT', 1, 65_535);
  // torchrun's own agent listens on the port that it names.
  const port = environment.TORCHELASTIC_USE_AGENT_STORE === 'True' ? given + 1 : given;
  const host = environment[launcher.host] ?? (size === 1 ? '127.0.0.1' : '');
  if (host === '') {
    throw new LauncherError(
      launcher.host,
      `${launcher.name}: found no ${launcher.host}, expected the host name or address of rank 0's machine.`,
    );
  }
  const isOnePerMachine = launcher.localRank === null;
  return { launcher: launcher.name, rank, size, localRank, isOnePerMachine, leader: { host, port } };
}

function isStartedBy({ name, mark }: Launcher, environment: Environment): boolean {
  const value = environment[mark];
  return value !== undefined && (name !== 'srun' || Number(value) < MOST_STEPS);
}

/** An integer from `least` to before `end`. */
function readInteger(
  { name }: Launcher,
  environment: Environment,
  variable: string,
  least: number,
  end: number,
): number {
  const value = environment[variable];
  const number = value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= least && number < end) return number;
  const found = value === undefined ? `no ${variable}` : `${variable}=${value}`;
  throw new LauncherError(variable, `${name}: found ${found}, expected an integer from ${least} to ${end - 1}.`);
}
