import { type BlockManager, NO_ROOM } from './block-manager.ts';
import type { RunningList } from './running-list.ts';
import { Field, RECORD_WORDS, type RunningRows } from './running-rows.ts';
import type { StepBatch } from './step-batch.ts';

/** Schedules running requests that decode on, without a look at them: most of all, in most steps. */
export class DecodeScheduler {
  readonly #blocks: BlockManager;
  readonly #rows: RunningRows;
  readonly #running: RunningList;

  constructor(blocks: BlockManager, rows: RunningRows, running: RunningList) {
    this.#blocks = blocks;
    this.#rows = rows;
    this.#running = running;
  }

  /**
   * Begins a batch with the first running requests, `most` at most, up to the first of which there is more to decide than that it
   * goes on: by one token, in a block that it has or gets. Returns how many they are.
   */
  add(batch: StepBatch, most: number, step: number): number {
    const { rows, requests } = this.#running;
    const { words } = this.#rows;
    const end = Math.min(most, requests.length);
    let count = 0;
    for (; count < end; count++) {
      const at = rows[count]! * RECORD_WORDS;
      const computed = words[at + Field.numComputed]!;
      if (computed >= words[at + Field.decodesUntil]! && !this.#grow(batch, count)) break;
      batch.setStart(count, computed);
      words[at + Field.numComputed] = computed + 1;
      words[at + Field.numPlaceholders]!++;
      words[at + Field.lastStep] = step;
    }
    if (count > 0) batch.addDecodes(this.#running, count);
    return count;
  }

  /** Gives the i-th running request another block if that is all that it needs to decode. */
  #grow(batch: StepBatch, i: number): boolean {
    const { words } = this.#rows;
    const row = this.#running.rows[i]!;
    const at = row * RECORD_WORDS;
    const computed = words[at + Field.numComputed]!;
    if (words[at + Field.decodesUntil] === 0 || computed + 1 >= words[at + Field.tokenLimit]!) return false;
    const { table } = this.#running.requests[i]!;
    const grantStart = this.#blocks.grow(table, computed + 1);
    if (grantStart === NO_ROOM) return false;
    batch.setGrant(i, grantStart);
    this.#rows.setCapacity(row, table.length * this.#blocks.blockSize);
    return true;
  }
}
