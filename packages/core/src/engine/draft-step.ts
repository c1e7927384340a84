import type { BlockGrant, NewRow, RowEdit, SchedulerOutput } from '../worker/types.ts';
import type { DraftSequence } from './draft-sequence.ts';
import { newRow } from './step-batch.ts';

/** One submit of the draft model: sequences that catch up, or sequences that guess. */
export class DraftStep implements SchedulerOutput {
  readonly newRows: NewRow[] = [];
  readonly edits: RowEdit[] = [];
  readonly grants: BlockGrant[] = [];
  readonly copies = [];
  readonly masks = [];
  readonly hostLogits = [];
  zeroBlocks: readonly number[] = [];
  numSequences = 0;
  numDecodeSequences = 0;
  numTokens = 0;
  readonly times: number;
  readonly rows: Int32Array;
  readonly queryLens: Int32Array;
  readonly sampleCounts: Int32Array;
  readonly promptLogprobs: Int32Array;

  /** `capacity`: most sequences; `times`: tokens that each of them guesses. */
  constructor(capacity: number, times = 1) {
    this.times = times;
    this.rows = new Int32Array(capacity);
    this.queryLens = new Int32Array(capacity);
    this.sampleCounts = new Int32Array(capacity);
    this.promptLogprobs = new Int32Array(capacity).fill(-1);
  }

  /** Adds a sequence that computes tokens from its numComputed on, and samples behind them or not. No row exceeds `maxTokens`. */
  add(sequence: DraftSequence, queryLen: number, samples: boolean, maxTokens: number): void {
    const { row, table, numGranted } = sequence;
    const i = this.numSequences++;
    this.rows[i] = row;
    this.queryLens[i] = queryLen;
    this.sampleCounts[i] = Number(samples);
    this.numTokens += queryLen;
    if (samples) this.numDecodeSequences++;
    if (sequence.isStale) this.#write(sequence, maxTokens);
    if (table.length === numGranted) return;
    this.grants.push({ row, start: numGranted, blocks: table.from(numGranted) });
    sequence.numGranted = table.length;
  }

  /** Makes the row end with the last token of the request. */
  #write(sequence: DraftSequence, maxTokens: number): void {
    const { request, row, numKnown, numComputed } = sequence;
    const { tokens, numTokens } = request;
    if (numKnown === 0) {
      const tokenLimit = Math.min(request.tokenLimit, maxTokens);
      this.newRows.push({ ...newRow(request), row, numComputed, tokenLimit, logprobs: null, adapterSlot: null });
    } else {
      const start = Math.min(numKnown, numTokens - 1);
      this.edits.push({ row, start, tokenIds: tokens.subarray(start, numTokens), numComputed });
    }
    sequence.numKnown = numTokens;
    sequence.isStale = false;
  }
}
