import type { BlockManager } from './block-manager.ts';
import { DraftRows } from './draft-rows.ts';
import type { Request } from './request.ts';
import type { DraftWish, Speculator } from './speculator.ts';
import type { StepBatch } from './step-batch.ts';
import type { Suspects } from './suspects.ts';

/** Decides which guesses a step checks beside its decodes: with rows, blocks and budgets that nobody else needs. */
export class DraftScheduler {
  readonly #speculator: Speculator;
  readonly #blocks: BlockManager;
  readonly #freeRows: readonly number[];
  readonly #rows: DraftRows;

  /** Rows are borrowed from `freeRows`. */
  constructor(speculator: Speculator, blocks: BlockManager, freeRows: number[]) {
    this.#speculator = speculator;
    this.#blocks = blocks;
    this.#freeRows = freeRows;
    this.#rows = new DraftRows(freeRows);
  }

  /** Has drafts made for those of the requests that decode in the next step: suspects may not run. null: none have to be made. */
  prepare(requests: readonly Request[], suspects: Suspects): Promise<void> | null {
    if (this.#speculator.prepare === undefined) return null;
    const wishes: DraftWish[] = [];
    let freeRows = this.#freeRows.length;
    for (const request of requests) {
      const decodes = request.virtualTokens - request.numComputed === 1 && !request.waitsForHost;
      if (!request.speculates || !decodes || !suspects.lets(request)) continue;
      const held = this.#rows.held(request);
      const most = Math.min(this.#most(request), freeRows + held);
      if (most <= 0) continue;
      wishes.push({ request, most });
      freeRows -= Math.max(0, most - held);
    }
    return wishes.length === 0 ? null : this.#speculator.prepare(wishes);
  }

  /** Adds checks of guesses at the tokens after the one that a request of the batch samples. Returns how many: `budget` at most. */
  add(batch: StepBatch, request: Request, budget: number): number {
    const most = Math.min(this.#most(request), budget);
    if (most <= 0) return 0;
    const guesses = this.#speculator.propose(request, most);
    if (guesses.length === 0) return 0;
    request.setDrafts(guesses);
    this.#blocks.grow(request.table, request.numTokens + guesses.length);
    for (let i = 0; i < guesses.length; i++) {
      const draftRow = this.#rows.row(request, i);
      batch.addDraft(request, i, draftRow);
      draftRow.numTokens = request.numTokens;
      draftRow.numBlocks = request.table.length;
    }
    return guesses.length;
  }

  /** Forgets a request that is not in the schedule any more. */
  release(request: Request): void {
    this.#rows.release(request);
    this.#speculator.release?.(request);
  }

  /** Gives the rows of all drafts back: others need them. */
  releaseRows(): void {
    this.#rows.releaseAll();
  }

  /** Drafts that could be checked behind the known tokens of a request. */
  #most(request: Request): number {
    const { numFreeBlocks, blockSize } = this.#blocks;
    const room = (request.table.length + numFreeBlocks) * blockSize - request.numTokens;
    const left = request.tokenLimit - request.numTokens - 1;
    return Math.min(
      this.#speculator.numSpeculativeTokens,
      room,
      left,
      this.#freeRows.length + this.#rows.held(request),
    );
  }
}
