import type { AttentionShape, Dim, StepSizes } from '@quire/core/contract';
import {
  type Dispatch,
  dimCode,
  dispatch,
  fixed,
  headVectors,
  type Kernel,
  type KvName,
  type Lanes,
  laneConsts,
  laneGrid,
} from '../kernel.ts';

/** Query tokens of a tile in a prompt, and query heads that share a KV head: bounded by the registers of a lane. */
const PROMPT_TOKENS = 4;
const MAX_TILE_HEADS = 4;

/** Decode rows, one token each, take tiles of one token; the rest of the batch takes tiles of several. */
export const pagedAttention: Kernel<'pagedAttention'> = (op, context) => {
  const { attentionLanes: lanes, nativeHalf } = context.tuning;
  const qkv = context.tensor(op.qkv);
  const kCache = context.tensor(op.kCache);
  const sequences = context.tensor(op.sequences);
  const blockTables = context.tensor(op.blockTables);
  const all = sequences.shape[0]!;
  const tileHeads = headsPerTile(op, lanes);
  const kv = (kCache.dtype === 'f16' && nativeHalf ? 'kv_native_f16' : `kv_${kCache.dtype}`) as KvName;

  const attend = (
    first: Dim,
    end: Dim,
    queryTokens: Dim,
    tileTokens: number,
    count: (sizes: StepSizes) => number,
  ): Dispatch =>
    dispatch('paged_attention', {
      fragments: { lanes: lanes.fragment, kv },
      consts: {
        ...laneConsts(lanes),
        BLOCK_SIZE: op.blockSize,
        HEAD_VECTORS: headVectors(op.headDim),
        TILE_TOKENS: tileTokens,
        TILE_HEADS: tileHeads,
      },
      params: {
        first_sequence: dimCode(first),
        end_sequence: dimCode(end),
        sequences: dimCode(all),
        query_tokens: dimCode(queryTokens),
        tokens: dimCode(qkv.shape[0]!),
        heads: op.heads,
        kv_heads: op.kvHeads,
        max_blocks: fixed(blockTables, 1),
        scale: op.scale,
        window: op.window,
        soft_cap: op.softCap,
      },
      bindings: {
        qkv,
        k_cache: kCache,
        v_cache: context.tensor(op.vCache),
        sequences,
        block_tables: blockTables,
        out: context.tensor(op.out),
        k_scales: op.kScales === undefined ? 'unused' : context.tensor(op.kScales),
        v_scales: op.vScales === undefined ? 'unused' : context.tensor(op.vScales),
      },
      workgroups: laneGrid(lanes, sizes => count(sizes) * (op.heads / tileHeads)),
    });

  const total = (sizes: StepSizes) => (typeof all === 'number' ? all : sizes[all]);
  const prompts = (sizes: StepSizes) => total(sizes) - sizes.decodeSequences;
  return [
    attend(0, 'decodeSequences', 1, 1, sizes => sizes.decodeSequences),
    attend('decodeSequences', all, 'maxQueryTokens', PROMPT_TOKENS, sizes => {
      return prompts(sizes) * Math.ceil(sizes.maxQueryTokens / PROMPT_TOKENS);
    }),
  ];
};

/** Query heads that share one pass over a KV head. A lone invocation takes one head, since few heads would leave others idle. */
function headsPerTile({ heads, kvHeads }: AttentionShape, lanes: Lanes): number {
  if (lanes.fragment === 'lanes_one' || heads % kvHeads !== 0) return 1;
  const perKvHead = heads / kvHeads;
  let tile = Math.min(MAX_TILE_HEADS, perKvHead);
  while (perKvHead % tile !== 0) tile--;
  return tile;
}
