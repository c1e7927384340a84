import type { AttentionShape, OpOf, StepSizes } from '@quire/core/contract';
import {
  type Dispatch,
  dimCode,
  dispatch,
  elementGrid,
  fixed,
  headVectors,
  type Kernel,
  type KernelContext,
  type KvName,
  type Lanes,
  laneConsts,
  laneGrid,
  type Scratch,
  sizeOf,
} from '../kernel.ts';

/** Query tokens of a tile in a prompt, and query heads that share a KV head: bounded by the registers of a lane. */
const PROMPT_TOKENS = 4;
const MAX_TILE_HEADS = 4;
/** Positions of a segment, at least: those of one group where a sequence is split. */
const SEGMENT = 256;
/** Positions that a lane scores at once. */
const LANE_POSITIONS = 4;
/** Bytes of parts, at most: fewer sequences are split where contexts may be very long. */
const MOST_PART_BYTES = 2 ** 26;

/**
 * A step of decode rows alone, one token each, takes tiles of one token; where it has few and some of them see more than one segment,
 * segments are groups of their own, joined by a second dispatch. A step with prompts takes tiles of several tokens, its decode rows among
 * them. All of these compute the same segments and join them in the same order, so that a row's bits do not depend on which it is.
 */
export const pagedAttention: Kernel<'pagedAttention'> = (op, context) => {
  const all = context.tensor(op.sequences).shape[0]!;
  const split = splitOf(op, context);
  const prompts = (sizes: StepSizes) => sizeOf(all, sizes) - sizes.decodeSequences;
  const isSplit = (sizes: StepSizes) => (split?.segments(sizes) ?? 0) > 0;
  return [
    whole(op, context, 1, sizes => (prompts(sizes) > 0 || isSplit(sizes) ? 0 : sizes.decodeSequences)),
    whole(op, context, PROMPT_TOKENS, sizes => {
      const others = prompts(sizes) * Math.ceil(sizes.maxQueryTokens / PROMPT_TOKENS);
      return others === 0 ? 0 : sizes.decodeSequences + others;
    }),
    ...(split === undefined ? [] : splitRows(op, context, split)),
  ];
};

type Attention = OpOf<'pagedAttention'>;

/** tokenTiles: of a step; 0 where it is another dispatch's. */
function whole(
  op: Attention,
  context: KernelContext,
  tileTokens: number,
  tokenTiles: (sizes: StepSizes) => number,
): Dispatch {
  const { attentionLanes: lanes } = context.tuning;
  const { qkv, sequences, ...bindings } = tensors(op, context);
  const headTiles = op.heads / headsPerTile(op, lanes);
  return dispatch('paged_attention/whole', {
    fragments: fragments(op, context),
    consts: consts(op, lanes, tileTokens),
    params: {
      sequences: dimCode(sequences.shape[0]!),
      decode_sequences: dimCode('decodeSequences'),
      query_tokens: dimCode('maxQueryTokens'),
      tokens: dimCode(qkv.shape[0]!),
      ...params(op, context),
    },
    bindings: { qkv, sequences, ...bindings, out: context.tensor(op.out) },
    workgroups: laneGrid(lanes, sizes => tokenTiles(sizes) * headTiles),
  });
}

/** Which steps split their sequences, and the memory for their parts. */
interface Split {
  readonly bytes: number;
  /** Segments of the longest sequence; 0 where the step is not split. */
  readonly segments: (sizes: StepSizes) => number;
}

/** Undefined where no step of the program can be split. A step with prompts has enough groups. */
function splitOf(op: Attention, context: KernelContext): Split | undefined {
  const { attentionLanes: lanes, fewRows } = context.tuning;
  const all = context.tensor(op.sequences).shape[0]!;
  const longest = segmentsOf(fixed(context.tensor(op.blockTables), 1), op, lanes);
  const bytes = op.heads * longest * (headVectors(op.headDim) + 1) * 16;
  const most = Math.min(fewRows, Math.floor(MOST_PART_BYTES / bytes));
  if (longest === 1 || most === 0) return undefined;
  const segments = (sizes: StepSizes) => {
    const few = sizes.decodeSequences <= most && sizes.decodeSequences === sizeOf(all, sizes);
    const count = segmentsOf(sizes.blocksPerSequence, op, lanes);
    return few && count > 1 ? count : 0;
  };
  return { bytes: most * bytes, segments };
}

function splitRows(op: Attention, context: KernelContext, { bytes, segments }: Split): Dispatch[] {
  const { attentionLanes: lanes } = context.tuning;
  const { qkv, sequences, ...bindings } = tensors(op, context);
  const out = context.tensor(op.out);
  const rows = { sequences: dimCode(sequences.shape[0]!), blocks: dimCode('blocksPerSequence') };
  const parts: Scratch = { scratch: 'shared', bytes };
  const headTiles = op.heads / headsPerTile(op, lanes);
  const elements = elementGrid(out.shape[0]!, op.heads * headVectors(op.headDim));
  return [
    dispatch('paged_attention/split', {
      fragments: fragments(op, context),
      consts: consts(op, lanes, 1),
      params: { ...rows, ...params(op, context) },
      bindings: { qkv, sequences, ...bindings, parts },
      workgroups: laneGrid(lanes, sizes => sizes.decodeSequences * headTiles * segments(sizes)),
    }),
    dispatch('paged_attention/join', {
      fragments: {},
      consts: { BLOCK_SIZE: op.blockSize, HEAD_VECTORS: headVectors(op.headDim), SEGMENT: segmentOf(lanes) },
      params: { ...rows, tokens: dimCode(out.shape[0]!), heads: op.heads, window: op.window },
      bindings: { parts, sequences, out },
      workgroups: sizes => (segments(sizes) > 0 ? elements(sizes) : 0),
    }),
  ];
}

function segmentsOf(blocks: number, { blockSize }: AttentionShape, lanes: Lanes): number {
  return Math.ceil((blocks * blockSize) / segmentOf(lanes));
}

/** Positions of a segment: whole chunks of the lanes. */
function segmentOf({ count }: Lanes): number {
  return Math.max(SEGMENT, count * LANE_POSITIONS);
}

function fragments({ kCache }: Attention, context: KernelContext) {
  const { attentionLanes, nativeHalf } = context.tuning;
  const { dtype } = context.tensor(kCache);
  const kv = (dtype === 'f16' && nativeHalf ? 'kv_native_f16' : `kv_${dtype}`) as KvName;
  return { lanes: attentionLanes.fragment, kv };
}

function consts(op: Attention, lanes: Lanes, tileTokens: number) {
  return {
    ...laneConsts(lanes),
    BLOCK_SIZE: op.blockSize,
    HEAD_VECTORS: headVectors(op.headDim),
    SEGMENT: segmentOf(lanes),
    TILE_TOKENS: tileTokens,
    TILE_HEADS: headsPerTile(op, lanes),
  };
}

function params(op: Attention, context: KernelContext) {
  return {
    heads: op.heads,
    kv_heads: op.kvHeads,
    max_blocks: fixed(context.tensor(op.blockTables), 1),
    scale: op.scale,
    window: op.window,
    soft_cap: op.softCap,
  };
}

function tensors(op: Attention, context: KernelContext) {
  return {
    qkv: context.tensor(op.qkv),
    k_cache: context.tensor(op.kCache),
    v_cache: context.tensor(op.vCache),
    sequences: context.tensor(op.sequences),
    block_tables: context.tensor(op.blockTables),
    k_scales: op.kScales === undefined ? ('unused' as const) : context.tensor(op.kScales),
    v_scales: op.vScales === undefined ? ('unused' as const) : context.tensor(op.vScales),
  };
}

/** Query heads that share one pass over a KV head. A lone invocation takes one head, since few heads would leave others idle. */
function headsPerTile({ heads, kvHeads }: AttentionShape, lanes: Lanes): number {
  if (lanes.fragment === 'lanes_one' || heads % kvHeads !== 0) return 1;
  const perKvHead = heads / kvHeads;
  let tile = Math.min(MAX_TILE_HEADS, perKvHead);
  while (perKvHead % tile !== 0) tile--;
  return tile;
}
