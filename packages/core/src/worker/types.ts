import type { StepSizes } from '../contract/contract.ts';
import type { PoolingConfig } from '../models/config.ts';
import type { AdapterWeights } from '../models/index.ts';

/** The sampler state of a row, resolved: no nulls, no defaults left to apply. */
export interface RowSampling {
  /** 0: greedy. */
  temperature: number;
  /** 0: off. */
  topK: number;
  topP: number;
  minP: number;
  seed: bigint;
  presencePenalty: number;
  frequencyPenalty: number;
  repetitionPenalty: number;
  minTokens: number;
  /** All ids that end the request (EOS unless ignored still counts for minTokens). Masked below minTokens. */
  stopTokenIds: readonly number[];
  logitBias: readonly (readonly [number, number])[];
  /** Only ids of the row's mask may be sampled; the mask comes with `SchedulerOutput.masks` before the row first samples. */
  masked: boolean;
}

/** A request that takes a row in this step: new, or resumed after preemption. */
export interface NewRow {
  row: number;
  tokenIds: Uint32Array;
  promptTokens: number;
  /** Tokens whose K and V lie in the cache already (prefix hit). */
  numComputed: number;
  /** min(prompt + max_tokens, max_model_len) */
  tokenLimit: number;
  sampling: RowSampling;
  /** Top logprobs wanted per sampled token, or null. */
  logprobs: number | null;
  /** Where its adapter lies. Absent or null: it has none. */
  adapterSlot?: number | null;
}

/** An adapter that takes a slot on the device, in place of the one that was there. */
export interface AdapterLoad {
  readonly slot: number;
  readonly weights: AdapterWeights;
}

/** A row that goes on from tokens that the host chose. Never of a new row, which brings all its tokens. */
export interface RowEdit {
  row: number;
  /** Position of the first of `tokenIds`; the row ends with the last of them. */
  start: number;
  tokenIds: Uint32Array;
  numComputed: number;
}

/**
 * Blocks written to a row's table from `start` on: its end now. For a new row, all its blocks with start 0; after a copy on
 * write, `start` lies inside the table. At most one per row and step.
 */
export interface BlockGrant {
  row: number;
  start: number;
  blocks: readonly number[];
}

/** The ids that a row may sample from this step on: bit id % 32 of word id / 32. */
export interface RowMask {
  row: number;
  /** [ceil(vocabSize / 32)]; not changed afterwards. */
  words: Uint32Array;
}

/** A row whose sampled position the host looks at, in this step. */
export interface HostLogits {
  row: number;
  /** Changes the model's logits f32 [vocabSize] in place before the sampler sees them; null: they are only read. Does not throw. */
  process: ((logits: Float32Array) => void) | null;
  /** Ids whose log-probabilities are asked for, or null for the likeliest. */
  tokenIds: readonly number[] | null;
  /** How many of the likeliest are asked for; null: no log-probabilities at all. */
  topN: number | null;
}

/**
 * One submit, as the scheduler decided it: what changed, and the batch. Arrays are parallel, one entry per sequence; decode
 * sequences (queryLen 1, sampleCount 1) come first.
 */
export interface SchedulerOutput {
  newRows: readonly NewRow[];
  edits: readonly RowEdit[];
  grants: readonly BlockGrant[];
  numSequences: number;
  numDecodeSequences: number;
  rows: Int32Array;
  queryLens: Int32Array;
  /** 0: no logits (prompt not finished); 1: the last token; queryLen: prompt log-probabilities. */
  sampleCounts: Int32Array;
  /** Top prompt logprobs wanted per sequence, -1 for none. */
  promptLogprobs: Int32Array;
  /** Repeats of this step on the device; above 1 only when every sequence decodes. */
  times: number;
  /** KV blocks to copy before the step, as (from, to) pairs. */
  copies: readonly (readonly [number, number])[];
  /** KV blocks to clear before the step, and before its copies. */
  zeroBlocks: readonly number[];
  masks: readonly RowMask[];
  /** Only with times = 1. */
  hostLogits: readonly HostLogits[];
  /** Rows whose sequence is computed with this step, of a model that pools. Default: none. */
  pooledRows?: readonly number[];
  /**
   * The batch is that of the step submitted before, decodes only: rows, queryLens, sampleCounts and promptLogprobs are the same, and
   * there are no new rows and no edits. Default: it may be another.
   */
  isRepeat?: boolean;
  /** Adapters to bring to the device before the step. Default: none. */
  adapterLoads?: readonly AdapterLoad[];
}

/** Log-probabilities of the samples of one repeat, struct of arrays; sample s of sequence i is at sampleStart[i] + s. */
export interface StepLogprobs {
  topN: number;
  /** [samples, 1 + topN]: chosen, then top. */
  logprobs: Float32Array;
  /** [samples, 2 + topN]: chosen id, rank, then top ids. */
  ids: Uint32Array;
}

export interface TokenLogprob {
  tokenId: number;
  logprob: number;
  /** 1 + number of tokens with a strictly greater logit. */
  rank: number;
}
/** Log-probabilities at one position: of the chosen token, then of the likeliest in order, or of the ids that were asked for. */
export interface PositionLogprobs extends TokenLogprob {
  top: TokenLogprob[];
}

/** What came back from one submit. Arrays are valid until the next result is taken. */
export interface StepResult {
  /** [times, numSequences]: sampled id, or NONE where the sequence sampled nothing. */
  tokenIds: Uint32Array;
  /** [times, numSequences]: SAMPLE_LIVE | SAMPLE_FINITE. */
  flags: Uint32Array;
  /** Present when any sequence asked for them; only with times = 1. */
  logprobs: StepLogprobs | null;
  sampleStarts: Int32Array;
  /** Log-probabilities that the host computed, by row: those of `hostLogits`, in place of the ones in `logprobs`. */
  hostLogprobs: ReadonlyMap<number, PositionLogprobs> | null;
  /** f32 [width] of each of `pooledRows`: the last hidden state, or the sum of all. Absent where there are none. */
  pooled?: ReadonlyMap<number, Float32Array>;
}

/** What the engine needs from the worker below it. ModelRunner implements it over a Device; tests over symbolic blocks. */
export interface ModelExecutor {
  readonly limits: ExecutorLimits;
  /** A smaller model that guesses ahead, on rows and blocks of its own. It sleeps, wakes and ends with this one. Default: none. */
  readonly draft?: ModelExecutor | null;
  /** Encodes and submits; returns at once. Results arrive in submit order. */
  submit(step: SchedulerOutput): Promise<StepResult>;
  /**
   * Copies KV blocks to slots of host memory or back, behind all steps submitted so far. Neither side may be used before it
   * resolves. Called only where limits.numHostBlocks > 0.
   */
  transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void>;
  /** Forgets all rows, after a step that failed: the next step brings everything anew. */
  reset(): void;
  /** Frees everything on the device but the weights. The executor is of no use any more; what is returned wakes as a new one. */
  sleep(): Promise<SleepingExecutor>;
  /** Resolves when everything submitted is done. */
  synchronize(): Promise<void>;
  dispose(): Promise<void>;
}

/** Weights on a device, and nothing else. */
export interface SleepingExecutor {
  wake(): Promise<ModelExecutor>;
  dispose(): Promise<void>;
}

/** How requests are pooled, and the length of what comes of it. */
export interface PoolingLimits extends PoolingConfig {
  readonly width: number;
}

export interface ExecutorLimits {
  maxNumSeqs: number;
  maxModelLen: number;
  maxNumBatchedTokens: number;
  /** Positions whose logits fit in one step. */
  maxSamples: number;
  blockSize: number;
  /** KV blocks, the null block included. */
  numBlocks: number;
  /** Slots of host memory for KV blocks. */
  numHostBlocks: number;
  /** Bytes of one KV block, over all layers. */
  blockBytes: number;
  /** Width of the logits: every token id in a request must be below. */
  vocabSize: number;
  maxLogprobs: number;
  /** Entries of stop ids plus two per logit bias that a row can hold. */
  maxBiasWords: number;
  /** How requests are pooled. Absent or null: they sample. */
  pooling?: PoolingLimits | null | undefined;
  /** Adapters that it holds at once. Absent: none. */
  numAdapterSlots?: number | undefined;
  /** Steps that may be in flight, and repeats of one submit that the sample ring can hold. */
  ringSlots: number;
}

export type { StepSizes };
