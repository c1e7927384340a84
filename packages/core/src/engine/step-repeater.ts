import { EngineError } from '../errors.ts';
import { type BlockManager, NO_ROOM } from './block-manager.ts';
import type { Request } from './request.ts';
import type { StepBatch } from './step-batch.ts';

/** Lets a step of decodes run several times in one submit, each row within the blocks and tokens it is granted. */
export class StepRepeater {
  readonly #blocks: BlockManager;
  readonly #maxRepeats: number;

  constructor(blocks: BlockManager, maxRepeats: number) {
    this.#blocks = blocks;
    this.#maxRepeats = maxRepeats;
  }

  /** Repeats a batch as often as blocks and `freeSlots` of the result ring allow; not when the host must look in between. */
  repeat(batch: StepBatch, freeSlots: number): void {
    const onlyDecodes = batch.numDecodeSequences === batch.numSequences;
    if (this.#maxRepeats === 1 || !onlyDecodes || batch.needsHost || batch.newRows.length > 0) return;
    let longest = 0;
    for (let i = 0; i < batch.numSequences; i++) longest = Math.max(longest, repeatsLeft(batch.request(i)));
    let times = Math.min(this.#maxRepeats, freeSlots, longest);
    while (times > 1 && this.#missingBlocks(batch, times) > this.#blocks.numFreeBlocks) times >>= 1;
    if (times <= 1) return;
    batch.times = times;
    for (let i = 0; i < batch.numSequences; i++) this.#extend(batch, i, times);
  }

  #missingBlocks(batch: StepBatch, times: number): number {
    let blocks = 0;
    for (let i = 0; i < batch.numSequences; i++) {
      const request = batch.request(i);
      const more = Math.min(times, repeatsLeft(request)) - 1;
      blocks += Math.max(0, this.#blocks.blocksFor(request.numComputed + more) - request.table.length);
    }
    return blocks;
  }

  #extend(batch: StepBatch, i: number, times: number): void {
    const request = batch.request(i);
    const appends = Math.min(times, repeatsLeft(request));
    const end = request.numComputed + appends - 1;
    const grantStart = this.#blocks.grow(request.table, end);
    if (grantStart === NO_ROOM) throw new EngineError('Scheduler: blocks that were counted as free are not there.');
    batch.extend(i, appends, grantStart);
    request.numComputed = end;
    request.numPlaceholders += appends - 1;
  }
}

/** Steps that a request, its placeholder of this step counted, could sample in a row. */
function repeatsLeft(request: Request): number {
  return request.tokenLimit - request.virtualTokens + 1;
}
