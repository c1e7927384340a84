import type { BlockGrant, NewRow, RowSampling, SchedulerOutput } from '../../../packages/core/src/worker/types.ts';

export const greedy: RowSampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  seed: 0n,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  minTokens: 0,
  stopTokenIds: [],
  logitBias: [],
  masked: false,
};

export function newRow(
  row: number,
  tokenIds: readonly number[],
  tokenLimit: number,
  sampling: Partial<RowSampling> = {},
): NewRow {
  return {
    row,
    tokenIds: Uint32Array.from(tokenIds),
    promptTokens: tokenIds.length,
    numComputed: 0,
    tokenLimit,
    sampling: { ...greedy, ...sampling },
    logprobs: null,
  };
}

interface Entry {
  row: number;
  queryLen: number;
  sampleCount: number;
}

/** A step of these sequences; changes may add rows, grants and the like. */
export function stepOf(entries: readonly Entry[], changes: Partial<SchedulerOutput> = {}): SchedulerOutput {
  return {
    newRows: [],
    edits: [],
    grants: [],
    numSequences: entries.length,
    numDecodeSequences: 0,
    rows: Int32Array.from(entries, e => e.row),
    queryLens: Int32Array.from(entries, e => e.queryLen),
    sampleCounts: Int32Array.from(entries, e => e.sampleCount),
    promptLogprobs: new Int32Array(entries.length).fill(-1),
    times: 1,
    copies: [],
    zeroBlocks: [],
    masks: [],
    hostLogits: [],
    ...changes,
  };
}

/** Computes the whole prompt of each new row and samples its first token. */
export function prefillStep(newRows: readonly NewRow[], grants: readonly BlockGrant[]): SchedulerOutput {
  const entries = newRows.map(({ row, tokenIds }) => ({ row, queryLen: tokenIds.length, sampleCount: 1 }));
  return stepOf(entries, { newRows, grants });
}

export function decodeStep(rows: readonly number[], times = 1): SchedulerOutput {
  const entries = rows.map(row => ({ row, queryLen: 1, sampleCount: 1 }));
  return stepOf(entries, { numDecodeSequences: rows.length, times });
}
