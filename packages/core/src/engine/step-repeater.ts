import { EngineError } from '../errors.ts';
import { type BlockManager, NO_ROOM } from './block-manager.ts';
import { Field, NEVER, RECORD_WORDS, type RunningRows } from './running-rows.ts';
import type { StepBatch } from './step-batch.ts';

/** Lets a step of decodes run several times in one submit, each row within the blocks and tokens it is granted. */
export class StepRepeater {
  readonly #blocks: BlockManager;
  readonly #running: RunningRows;
  readonly #maxRepeats: number;

  constructor(blocks: BlockManager, running: RunningRows, maxRepeats: number) {
    this.#blocks = blocks;
    this.#running = running;
    this.#maxRepeats = maxRepeats;
  }

  /** Repeats a batch as often as blocks and `freeSlots` of the result ring allow; not when the host must look in between. */
  repeat(batch: StepBatch, freeSlots: number): void {
    const onlyDecodes = batch.numDecodeSequences === batch.numSequences;
    if (this.#maxRepeats === 1 || !onlyDecodes || batch.needsHost || batch.newRows.length > 0) return;
    let longest = 0;
    for (let i = 0; i < batch.numSequences; i++) longest = Math.max(longest, this.#repeatsLeft(batch.row(i)));
    let times = Math.min(this.#maxRepeats, freeSlots, longest);
    while (times > 1 && this.#missingBlocks(batch, times) > this.#blocks.numFreeBlocks) times >>= 1;
    if (times <= 1) return;
    batch.times = times;
    for (let i = 0; i < batch.numSequences; i++) this.#extend(batch, i, times);
  }

  /** Steps that the request of a row, its placeholder of this step counted, could sample in a row. */
  #repeatsLeft(row: number): number {
    const { words } = this.#running;
    const at = row * RECORD_WORDS;
    return words[at + Field.tokenLimit]! - words[at + Field.numTokens]! - words[at + Field.numPlaceholders]! + 1;
  }

  #missingBlocks(batch: StepBatch, times: number): number {
    const { words } = this.#running;
    let blocks = 0;
    for (let i = 0; i < batch.numSequences; i++) {
      const row = batch.row(i);
      const at = row * RECORD_WORDS;
      const end = words[at + Field.numComputed]! + Math.min(times, this.#repeatsLeft(row)) - 1;
      if (end <= words[at + Field.decodesUntil]!) continue;
      blocks += Math.max(0, this.#blocks.blocksFor(end) - batch.request(i).table.length);
    }
    return blocks;
  }

  #extend(batch: StepBatch, i: number, times: number): void {
    const { words } = this.#running;
    const row = batch.row(i);
    const at = row * RECORD_WORDS;
    const appends = Math.min(times, this.#repeatsLeft(row));
    const end = words[at + Field.numComputed]! + appends - 1;
    const grantStart = end <= words[at + Field.decodesUntil]! ? NEVER : this.#grow(batch, i, end);
    batch.extend(i, appends, grantStart);
    words[at + Field.numComputed] = end;
    words[at + Field.numPlaceholders]! += appends - 1;
  }

  /** Returns where the blocks begin that the request gains to hold `end` tokens. */
  #grow(batch: StepBatch, i: number, end: number): number {
    const { table } = batch.request(i);
    const grantStart = this.#blocks.grow(table, end);
    if (grantStart === NO_ROOM) throw new EngineError('Scheduler: blocks that were counted as free are not there.');
    this.#running.setCapacity(batch.row(i), table.length * this.#blocks.blockSize);
    return grantStart;
  }
}
