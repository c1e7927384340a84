import {
  BATCH_WORDS,
  Batch,
  BatchHeader,
  DELTA_SEGMENT_WORDS,
  DeltaTarget,
  ROW_WORDS,
  Row,
} from '../contract/contract.ts';
import type { RowStateShape } from '../models/index.ts';
import { type DeltaTargetId, RowDelta } from '../program/index.ts';
import { biasList, rowRecord } from './row-record.ts';
import type { DeltaLimits } from './state-programs.ts';
import type { NewRow, RowEdit, SchedulerOutput } from './types.ts';

/** A word that no batch record holds. */
const UNKNOWN = 0xffffffff;

/**
 * Turns scheduler outputs into row deltas: only what changed since the last step. The host keeps a mirror of the batch
 * records and of the blocks granted to each row, so that steady decode writes nothing.
 */
export class RowWriter {
  readonly #shape: RowStateShape;
  readonly #blockSize: number;
  readonly #limits: DeltaLimits;
  readonly #flush: (delta: RowDelta) => void;
  readonly #delta = new RowDelta();
  readonly #batch: Uint32Array;
  readonly #next: Uint32Array;
  readonly #grantedBlocks: Int32Array;
  /** 1: it takes its row in the step that is being written. */
  readonly #isNew: Uint8Array;
  readonly #one = new Uint32Array(1);
  /** numTokens and numComputed, the first two words of a row. */
  readonly #lengths = new Uint32Array(2);
  #stepCounter = 0;

  /** `flush` takes each delta that is full or complete; it is cleared when that returns. */
  constructor(shape: RowStateShape, blockSize: number, limits: DeltaLimits, flush: (delta: RowDelta) => void) {
    this.#shape = shape;
    this.#blockSize = blockSize;
    this.#limits = limits;
    this.#flush = flush;
    this.#batch = new Uint32Array((1 + shape.maxRows) * BATCH_WORDS);
    this.#next = new Uint32Array(this.#batch.length);
    this.#grantedBlocks = new Int32Array(shape.maxRows);
    this.#isNew = new Uint8Array(shape.maxRows);
  }

  /** The device's step counter before the step that is being written. */
  get stepCounter(): number {
    return this.#stepCounter;
  }

  /** Hands over, in as many deltas as it takes, what the device must know before this step. */
  write(step: SchedulerOutput): void {
    for (const { row } of step.newRows) this.#grantedBlocks[row] = 0;
    this.#writeGrants(step);
    for (const row of step.newRows) this.#writeNewRow(row);
    for (const edit of step.edits) this.#writeEdit(edit);
    if (!step.isRepeat) this.#writeBatch(step);
    this.#finish();
  }

  /** The next step writes the whole batch, whatever the device has. */
  reset(): void {
    this.#batch.fill(UNKNOWN);
    this.#delta.clear();
  }

  /** The device adds 1 to its counter in each repeat of a step. */
  advance(times: number): void {
    this.#stepCounter = (this.#stepCounter + times) >>> 0;
  }

  #writeGrants({ grants, newRows }: SchedulerOutput): void {
    if (grants.length === 0) return;
    for (const { row, start, blocks } of grants) {
      const offset = row * this.#shape.maxBlocksPerSequence + start;
      this.#add(DeltaTarget.blockTables, offset, this.#words(blocks));
      this.#grantedBlocks[row] = start + blocks.length;
    }
    // A new row brings its credit in its record.
    for (const { row } of newRows) this.#isNew[row] = 1;
    for (const { row } of grants) if (this.#isNew[row] === 0) this.#writeCredit(row);
    for (const { row } of newRows) this.#isNew[row] = 0;
  }

  #writeCredit(row: number): void {
    this.#one[0] = this.#grantedBlocks[row]! * this.#blockSize;
    this.#add(DeltaTarget.rows, row * ROW_WORDS + Row.blockCredit, this.#one);
  }

  /** The numbers as words, until the next call: a row mostly gains one block. */
  #words(numbers: readonly number[]): Uint32Array {
    if (numbers.length !== 1) return Uint32Array.from(numbers);
    this.#one[0] = numbers[0]!;
    return this.#one;
  }

  #writeNewRow(row: NewRow): void {
    const credit = this.#grantedBlocks[row.row]! * this.#blockSize;
    this.#add(DeltaTarget.rows, row.row * ROW_WORDS, rowRecord(row, credit));
    this.#add(DeltaTarget.tokenIds, row.row * this.#shape.maxModelLen, row.tokenIds);
    this.#add(DeltaTarget.biases, row.row * this.#shape.maxBiasWords, biasList(row.sampling));
  }

  #writeEdit({ row, start, tokenIds, numComputed }: RowEdit): void {
    this.#lengths[Row.numTokens] = start + tokenIds.length;
    this.#lengths[Row.numComputed] = numComputed;
    this.#add(DeltaTarget.rows, row * ROW_WORDS, this.#lengths);
    this.#add(DeltaTarget.tokenIds, row * this.#shape.maxModelLen + start, tokenIds);
  }

  #writeBatch(step: SchedulerOutput): void {
    const used = this.#fillBatch(step);
    for (let at = 0; at < used; at += BATCH_WORDS) {
      if (this.#sameRecord(at)) continue;
      const start = at;
      while (at < used && !this.#sameRecord(at)) at += BATCH_WORDS;
      const changed = this.#next.subarray(start, at);
      this.#batch.set(changed, start);
      this.#add(DeltaTarget.batch, start, changed);
    }
  }

  /** Lays out the step's records and returns how many words they take. */
  #fillBatch(step: SchedulerOutput): number {
    const next = this.#next;
    let numTokens = 0;
    let numSamples = 0;
    for (let i = 0; i < step.numSequences; i++) {
      const at = (1 + i) * BATCH_WORDS;
      next[at + Batch.row] = step.rows[i]!;
      next[at + Batch.queryStart] = numTokens;
      next[at + Batch.queryLen] = step.queryLens[i]!;
      next[at + Batch.sampleStart] = numSamples;
      next[at + Batch.sampleCount] = step.sampleCounts[i]!;
      numTokens += step.queryLens[i]!;
      numSamples += step.sampleCounts[i]!;
    }
    next[BatchHeader.numSequences] = step.numSequences;
    next[BatchHeader.numTokens] = numTokens;
    next[BatchHeader.numSamples] = numSamples;
    // Written with the rest of the header when that changes; the device keeps it up to date, so it is no change itself.
    next[BatchHeader.stepCounter] = this.#stepCounter;
    this.#batch[BatchHeader.stepCounter] = this.#stepCounter;
    return (1 + step.numSequences) * BATCH_WORDS;
  }

  #sameRecord(at: number): boolean {
    for (let word = at; word < at + BATCH_WORDS; word++) {
      if (this.#batch[word] !== this.#next[word]) return false;
    }
    return true;
  }

  /** Adds a segment, in pieces where it is longer than a delta. */
  #add(target: DeltaTargetId, offset: number, data: Uint32Array): void {
    let at = 0;
    while (at < data.length) {
      const room = this.#limits.words - this.#delta.words - DELTA_SEGMENT_WORDS;
      if (room < 1 || this.#delta.segments === this.#limits.segments) {
        this.#finish();
        continue;
      }
      const piece = at === 0 && data.length <= room ? data : data.subarray(at, at + room);
      this.#delta.add(target, offset + at, piece);
      at += piece.length;
    }
  }

  #finish(): void {
    if (this.#delta.segments === 0) return;
    this.#flush(this.#delta);
    this.#delta.clear();
  }
}
