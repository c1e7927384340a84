import { type DType, shapeBytes } from '../contract/contract.ts';
import { ConfigError } from '../errors.ts';
import { cacheBlockBytes } from '../models/index.ts';

/** What the cache may take: a number of usable blocks, or bytes. `source` is shown in errors. */
export type KvBudget =
  | { readonly kind: 'blocks'; readonly blocks: number }
  | { readonly kind: 'bytes'; readonly bytes: number; readonly source: string }
  /** No figure at all: size the cache for the requests that are expected. */
  | { readonly kind: 'unknown'; readonly capBytes: number };

export interface KvCacheQuestion {
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly blockSize: number;
  readonly dtype: DType;
  readonly maxNumSeqs: number;
  /** Tokens of the longest request. */
  readonly maxModelLen: number;
  /** Shorten maxModelLen to what fits instead of failing: nobody asked for this length. */
  readonly fitMaxModelLen: boolean;
  /** Largest single tensor of the device, in bytes. */
  readonly maxTensorBytes: number;
  readonly budget: KvBudget;
  /** Bytes of a block of a further cache that is paid for from the same budget, with as many blocks. Default 0. */
  readonly besideBlockBytes?: number;
}

export interface KvCacheSize {
  /** Blocks of every cache tensor, the null block included. */
  readonly numBlocks: number;
  /** All layers, K and V, and their scales where there are any. */
  readonly bytes: number;
  /** As asked, or shortened to fit. */
  readonly maxModelLen: number;
  /** Tokens that the cache holds. */
  readonly tokens: number;
  /** Requests of maxModelLen tokens that fit at once. */
  readonly fullLengthRequests: number;
}

/** Length that a request is assumed to reach when the device tells no memory size. */
const EXPECTED_REQUEST_TOKENS = 512;

/**
 * Blocks for a KV cache. One block is the null block, and a full-length request must have room beside it: else maxModelLen is
 * shortened where that is allowed, or ConfigError says with numbers what is missing.
 */
export function kvCacheSize(question: KvCacheQuestion): KvCacheSize {
  const { blockSize, maxTensorBytes } = question;
  const { numKvHeads: kvHeads, headDim, dtype: kvDtype } = question;
  const perTensor = shapeBytes(kvDtype, [kvHeads, blockSize, headDim]);
  const perBlock = question.numLayers * cacheBlockBytes({ kvHeads, blockSize, headDim, kvDtype });
  const wanted = Math.ceil(question.maxModelLen / blockSize);
  const most = Math.floor(maxTensorBytes / perTensor) - 1;
  const paid = perBlock + (question.besideBlockBytes ?? 0);
  const blocks = Math.min(budgetBlocks(question, paid, wanted), most);
  const maxModelLen = Math.min(question.maxModelLen, blocks * blockSize);
  if (blocks < 1 || (maxModelLen < question.maxModelLen && !question.fitMaxModelLen)) {
    throw new ConfigError(tooSmall(question, { blocks, wanted, perBlock: paid, most }), tightOption(question.budget));
  }
  return {
    numBlocks: blocks + 1,
    bytes: (blocks + 1) * perBlock,
    maxModelLen,
    tokens: blocks * blockSize,
    fullLengthRequests: blocks / Math.ceil(maxModelLen / blockSize),
  };
}

/** Usable blocks that the budget pays for; more than the model can use with maxNumSeqs requests is no use. */
function budgetBlocks(
  { budget, blockSize, maxNumSeqs, maxModelLen }: KvCacheQuestion,
  perBlock: number,
  wanted: number,
): number {
  switch (budget.kind) {
    case 'blocks':
      return budget.blocks;
    case 'bytes':
      return Math.max(Math.floor(budget.bytes / perBlock) - 1, 0);
    case 'unknown': {
      const expected = maxNumSeqs * Math.ceil(Math.min(maxModelLen, EXPECTED_REQUEST_TOKENS) / blockSize);
      const affordable = Math.floor(budget.capBytes / perBlock) - 1;
      return Math.max(Math.min(expected, affordable), wanted);
    }
  }
}

function tooSmall(
  { budget, maxModelLen, maxTensorBytes, blockSize }: KvCacheQuestion,
  found: { blocks: number; wanted: number; perBlock: number; most: number },
): string {
  const need = `A request of ${maxModelLen} tokens needs ${found.wanted} KV blocks, ${(found.wanted + 1) * found.perBlock} bytes with the null block`;
  if (found.blocks === found.most && found.most < found.wanted) {
    return `${need}, but tensors of ${maxTensorBytes} bytes hold ${Math.max(found.most, 0)}. Lower maxModelLen to at most ${Math.max(found.most, 0) * blockSize}.`;
  }
  const have =
    budget.kind === 'bytes'
      ? `${budget.source} of ${Math.floor(budget.bytes)} bytes pays for`
      : 'numGpuBlocksOverride gives';
  const advice =
    found.blocks < 1 ? 'Raise it.' : `Raise it, or lower maxModelLen to at most ${found.blocks * blockSize}.`;
  return `${need}, but ${have} ${found.blocks}. ${advice}`;
}

function tightOption(budget: KvBudget): string {
  if (budget.kind === 'blocks') return 'numGpuBlocksOverride';
  return budget.kind === 'bytes' ? 'kvCacheMemoryBytes' : 'maxModelLen';
}
