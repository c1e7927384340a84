import { ConfigError } from '../errors.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight, SplitDimension, WeightSource } from './model-weights.ts';

/** How a dimension is divided: the range of each rank, filled up with zeros to `length` where it is shorter. */
export interface Split {
  readonly length: number;
  readonly ranges: readonly (readonly [start: number, end: number])[];
}

/** How a model is divided among the ranks of a tensor-parallel group (Shoeybi et al. 2019, Megatron-LM). */
export type ModelShards = { readonly [D in SplitDimension]: Split } & { readonly ranks: number };

/**
 * Attention is divided by KV heads, each with the query heads that read it. With fewer KV heads than ranks, several ranks hold
 * the same one and share its query heads. Where a number does not divide evenly, the last ranks are filled up with zeros, which
 * change no sum. Throws ConfigError when KV heads and ranks fit neither way, or when a norm is over all heads.
 */
export function planShards(config: ModelConfig, ranks: number): ModelShards {
  if (ranks > 1 && config.qkNorm === 'all') {
    throw new ConfigError(
      `tensorParallelSize is ${ranks}, but ${config.architecture} norms all heads of a token together, of which a rank has a ` +
        'part. Set it to 1.',
      'tensorParallelSize',
    );
  }
  const { query, kv } = config.numKvHeads >= ranks ? ownHeads(config, ranks) : sharedHeads(config, ranks);
  return {
    ranks,
    queryHeads: scaled(query, config.headDim),
    kvHeads: scaled(kv, config.headDim),
    intermediate: evenSplit(config.intermediateSize, ranks),
    vocabulary: evenSplit(config.vocabSize, ranks),
  };
}

/** Every rank has KV heads of its own. */
function ownHeads({ numHeads, numKvHeads }: ModelConfig, ranks: number): { query: Split; kv: Split } {
  const kv = evenSplit(numKvHeads, ranks);
  return { query: scaled(kv, numHeads / numKvHeads), kv };
}

/** Several ranks have the same KV head, and a part of its query heads each. */
function sharedHeads({ numHeads, numKvHeads }: ModelConfig, ranks: number): { query: Split; kv: Split } {
  if (ranks % numKvHeads !== 0) {
    throw new ConfigError(
      `tensorParallelSize is ${ranks}, but the model has ${numKvHeads} KV heads: expected at most as many ranks, or a multiple ` +
        `of them. Set it to ${numKvHeads}.`,
      'tensorParallelSize',
    );
  }
  const [sharers, group] = [ranks / numKvHeads, numHeads / numKvHeads];
  const shared = evenSplit(group, sharers);
  const headOf = (rank: number) => Math.floor(rank / sharers);
  const queryRanges = ranges(ranks, rank => shared.ranges[rank % sharers]!.map(at => headOf(rank) * group + at));
  return {
    query: { length: shared.length, ranges: queryRanges },
    kv: { length: 1, ranges: ranges(ranks, rank => [headOf(rank), headOf(rank) + 1]) },
  };
}

/** The sizes that one rank computes with. Hidden size, logits and layers are those of the whole model. */
export function shardConfig(config: ModelConfig, shards: ModelShards): ModelConfig {
  if (shards.ranks === 1) return config;
  return {
    ...config,
    numHeads: shards.queryHeads.length / config.headDim,
    numKvHeads: shards.kvHeads.length / config.headDim,
    intermediateSize: shards.intermediate.length,
  };
}

/** The weights as one rank holds them: the same shapes on every rank. Sources keep the shapes of the checkpoint. */
export function shardWeights(weights: readonly ModelWeight[], shards: ModelShards): readonly ModelWeight[] {
  if (shards.ranks === 1) return weights;
  return weights.map(weight => {
    if (weight.sources.length === 0) return weight;
    const rows = weight.sources.reduce((sum, source) => sum + rowsOf(source, shards), 0);
    const [, columns] = weight.shape;
    if (columns === undefined) return { ...weight, shape: [rows] };
    return { ...weight, shape: [rows, weight.columnSplit === undefined ? columns : shards[weight.columnSplit].length] };
  });
}

function rowsOf(source: WeightSource, shards: ModelShards): number {
  return source.split === undefined ? source.shape[0]! : shards[source.split].length;
}

function evenSplit(size: number, ranks: number): Split {
  const length = Math.ceil(size / ranks);
  return { length, ranges: ranges(ranks, rank => [rank * length, (rank + 1) * length].map(at => Math.min(at, size))) };
}

function ranges(ranks: number, of: (rank: number) => readonly number[]): Split['ranges'] {
  return Array.from({ length: ranks }, (_, rank) => of(rank) as [number, number]);
}

function scaled({ length, ranges }: Split, factor: number): Split {
  return { length: length * factor, ranges: ranges.map(([start, end]) => [start * factor, end * factor]) };
}
