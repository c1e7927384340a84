import { ConfigError } from '@quire/core';

/** The part of a batch that one process does: the lines whose 0-based number is `index` modulo `count`. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Given on the command line, or null where it is to be taken from the environment. */
export interface GivenShard {
  readonly index: number | null;
  readonly count: number | null;
}

/**
 * The shard of this process, or null for a batch in one piece. What is given goes first; then a Slurm job array (its tasks must
 * count up by one step) and the index of a Kubernetes indexed job, which does not tell the count. With a count that is given, a
 * task's number is the index itself, so that single tasks can be submitted again. Throws ConfigError.
 */
export function shardOf(given: GivenShard, env: Environment): Shard | null {
  const count = given.count ?? (given.index === null ? integer(env, 'SLURM_ARRAY_TASK_COUNT') : null);
  const index = given.index ?? indexIn(env, given.count !== null);
  if (count === null && index === null) return null;
  if (count === null)
    throw new ConfigError(`numShards is missing, and this is shard ${index}. Say how many there are.`, 'numShards');
  if (index === null) {
    throw new ConfigError(
      'shardIndex is missing: give it, or run as a Slurm array or a Kubernetes indexed job.',
      'shardIndex',
    );
  }
  if (!Number.isInteger(index) || index < 0 || index >= count) {
    throw new ConfigError(`shardIndex must be an integer from 0 to ${count - 1}; found ${index}.`, 'shardIndex');
  }
  return { index, count };
}

function indexIn(env: Environment, countIsGiven: boolean): number | null {
  const task = integer(env, 'SLURM_ARRAY_TASK_ID');
  if (task === null) return integer(env, 'JOB_COMPLETION_INDEX');
  if (countIsGiven) return task;
  return (task - (integer(env, 'SLURM_ARRAY_TASK_MIN') ?? 0)) / (integer(env, 'SLURM_ARRAY_TASK_STEP') ?? 1);
}

function integer(env: Environment, name: string): number | null {
  const text = env[name];
  if (text === undefined || text === '') return null;
  if (!/^\d{1,9}$/.test(text)) throw new ConfigError(`${name} must be a whole number; found "${text}".`, name);
  return Number(text);
}

/** Whether the line is this shard's. number: 1-based. */
export function isMine(shard: Shard | null, number: number): boolean {
  return shard === null || (number - 1) % shard.count === shard.index;
}

/** Each shard writes to a file of its own: `out.jsonl` becomes `out-00000-of-00003.jsonl`. */
export function shardPath(path: string, shard: Shard | null): string {
  if (shard === null) return path;
  const part = `-${String(shard.index).padStart(5, '0')}-of-${String(shard.count).padStart(5, '0')}`;
  const dot = path.lastIndexOf('.');
  return dot > path.lastIndexOf('/') + 1 ? path.slice(0, dot) + part + path.slice(dot) : path + part;
}
