/**
 * Rows live on the device. A running request owns a row; its token ids, block table and sampler state are device tensors
 * indexed by row, so that a decode step can be repeated without the host. Five external tensors hold them:
 *
 * | tensor      | dtype, shape                        | holds |
 * |-------------|-------------------------------------|-------|
 * | rows        | u32 [maxRows, ROW_WORDS]            | the fields of `Row` below |
 * | blockTables | u32 [maxRows, maxBlocksPerSequence] | block ids of the row, in order |
 * | tokenIds    | u32 [maxRows, maxModelLen]          | prompt, then sampled tokens |
 * | batch       | u32 [1 + maxRows, BATCH_WORDS]      | record 0: header; record 1 + i: sequence i of the step |
 * | ring        | u32 [ringSlots, maxRows, 2]         | (token id, `SAMPLE_*` flags) of each step, by row |
 *
 * Words that hold a float are bit-cast f32. Word indices are the same in TypeScript, WGSL and CUDA.
 */
export const Row = {
  /** Known tokens: prompt plus sampled. */
  numTokens: 0,
  /** Tokens whose K and V are in the cache. */
  numComputed: 1,
  /** numTokens never grows beyond this: min(prompt + max_tokens, max_model_len). */
  tokenLimit: 2,
  /** Tokens that the granted blocks can hold. A row that would write beyond it is spent for this submit. */
  blockCredit: 3,
  promptTokens: 4,
  /** f32; 0 means greedy. */
  temperature: 5,
  /** 0 means off. */
  topK: 6,
  /** f32 */
  topP: 7,
  /** f32 */
  minP: 8,
  seedLow: 9,
  seedHigh: 10,
  /** f32; counts output tokens only */
  presencePenalty: 11,
  /** f32; counts output tokens only */
  frequencyPenalty: 12,
  /** f32; prompt and output tokens */
  repetitionPenalty: 13,
  /** Stop ids are masked while numTokens < minTokensUntil (prompt + min_tokens). */
  minTokensUntil: 14,
  /** Entries of the row's bias list that are stop ids: they come first and only mask below minTokensUntil. */
  numStopIds: 15,
  /** Entries of the bias list after the stop ids: (token id, f32 added to its logit). */
  numBiases: 16,
  /** Not 0: only the ids of the row's mask may be sampled. */
  masked: 17,
  /** Slot of its adapter, or NONE. */
  adapter: 18,
} as const;
export const ROW_WORDS = 24;

/** Words of a `batch` record. Sequence records are host-written; the header's stepCounter is advanced on the device. */
export const Batch = { row: 0, queryStart: 1, queryLen: 2, sampleStart: 3, sampleCount: 4 } as const;
export const BatchHeader = { numSequences: 0, stepCounter: 1, numTokens: 2, numSamples: 3 } as const;
export const BATCH_WORDS = 8;

/** Words of a `sequences` record, made by prepareInputs. contextLen 0 marks a spent row: nothing is read or written. */
export const Sequence = {
  row: 0,
  queryStart: 1,
  queryLen: 2,
  /** Tokens visible to the last query token: numComputed + queryLen. */
  contextLen: 3,
  sampleStart: 4,
  sampleCount: 5,
  /** Position of the first query token (numComputed). */
  firstPosition: 6,
  numTokens: 7,
} as const;
export const SEQUENCE_WORDS = 8;

/** Words of a `samples` record, made by prepareSamples: one per position whose logits are computed. */
export const Sample = {
  /** Index of the token (row of the hidden states) whose output is projected. */
  token: 0,
  /** Row of the request, or NONE for a spent row. */
  row: 1,
  /** Position of the token that these logits predict. Noise is keyed by it. */
  position: 2,
  /** The token id already known at that position (prompt log-probabilities), or NONE when it is to be sampled. */
  target: 3,
} as const;
export const SAMPLE_WORDS = 4;

/** "No token", "no row" and the slot of padding. */
export const NONE = 0xffffffff;

/** Flags in word 1 of a sampled pair. */
export const SAMPLE_LIVE = 1;
/** All logits of the row were finite. A row without this flag ends its request with an error. */
export const SAMPLE_FINITE = 2;

/**
 * A row delta: what the host changed since the last step, in one packed u32 tensor.
 * word 0: number of segments S; words 4 + 4 i ..: segment i = (target, destination offset, source offset, length), all in
 * words; the source offset counts from the start of the delta. Segments of one delta do not overlap in their destination.
 */
export const DeltaTarget = { rows: 0, blockTables: 1, tokenIds: 2, batch: 3, biases: 4 } as const;
export const DELTA_HEADER_WORDS = 4;
export const DELTA_SEGMENT_WORDS = 4;
