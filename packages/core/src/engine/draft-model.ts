import { SAMPLE_FINITE, SAMPLE_LIVE } from '../contract/contract.ts';
import type { ModelExecutor, StepResult } from '../worker/types.ts';
import { BlockManager, NO_ROOM } from './block-manager.ts';
import { DraftSequence } from './draft-sequence.ts';
import { DraftStep } from './draft-step.ts';
import type { BlockHash } from './prefix-cache.ts';
import type { Request } from './request.ts';
import type { DraftWish, Speculator } from './speculator.ts';

export interface DraftModelOptions {
  /** Of the smaller model: its rows and blocks are this object's. */
  readonly executor: ModelExecutor;
  readonly numSpeculativeTokens: number;
  readonly enablePrefixCaching: boolean;
  readonly hash?: BlockHash;
}

const NOTHING = new Uint32Array(0);

/**
 * Speculation with a smaller model (Leviathan et al. 2023): it goes on with each sequence for a few tokens, all in one submit.
 *
 * It samples as the request does, with the noise of the request's seed and each position (a Gumbel coupling, Daliri et al. 2024):
 * where the two models agree on the probabilities, they then agree on the token too, at any temperature. Greedy drafts would be
 * accepted only as often as the target samples the likeliest token.
 *
 * Its cache is its own and knows nothing of the target's: whatever it has not computed of a sequence (prefix hits, forks, tokens
 * sampled without drafts) it computes first, within the token budget of one step. A sequence that is still behind after that gets
 * no drafts this time. What it computed of rejected drafts is overwritten; it reads only what it computed of the tokens at hand.
 */
export class DraftModel implements Speculator {
  readonly numSpeculativeTokens: number;
  readonly blocks: BlockManager;
  readonly #executor: ModelExecutor;
  readonly #freeRows: number[];
  readonly #sequences = new Map<Request, DraftSequence>();

  constructor({ executor, numSpeculativeTokens, enablePrefixCaching, hash }: DraftModelOptions) {
    const { numBlocks, blockSize, maxNumSeqs } = executor.limits;
    this.numSpeculativeTokens = numSpeculativeTokens;
    this.#executor = executor;
    this.#freeRows = Array.from({ length: maxNumSeqs }, (_, i) => maxNumSeqs - 1 - i);
    this.blocks = new BlockManager({ numBlocks, blockSize, enablePrefixCaching, ...(hash ? { hash } : {}) });
  }

  async prepare(wishes: readonly DraftWish[]): Promise<void> {
    const { maxNumBatchedTokens, maxSamples } = this.#executor.limits;
    const behind = new DraftStep(wishes.length);
    const guessing: DraftSequence[] = [];
    const repeats: number[] = [];
    for (const { request, most } of wishes) {
      const sequence = this.#follow(request, most);
      if (sequence === null) continue;
      const queryLen = Math.min(sequence.numMissing, maxNumBatchedTokens - behind.numTokens);
      if (queryLen > 0) this.#compute(behind, sequence, queryLen);
      if (sequence.numMissing > 0 || guessing.length === Math.min(maxSamples, maxNumBatchedTokens)) continue;
      guessing.push(sequence);
      repeats.push(most);
    }
    const caughtUp = behind.numSequences > 0 ? this.#submit(behind) : null;
    if (guessing.length > 0) await this.#guess(guessing, Math.max(...repeats));
    await caughtUp;
  }

  propose(request: Request, most: number): Uint32Array {
    const sequence = this.#sequences.get(request);
    return sequence?.hasGuesses ? sequence.guesses.subarray(0, most) : NOTHING;
  }

  release(request: Request): void {
    const sequence = this.#sequences.get(request);
    if (sequence === undefined) return;
    this.#sequences.delete(request);
    // Steps in flight write to them before any later owner does: the device has one queue, in order.
    if (sequence.isTainted) this.blocks.discard(sequence.table);
    else this.blocks.free(sequence.table);
    this.#freeRows.push(sequence.row);
  }

  resetPrefixCache(): void {
    this.blocks.resetPrefixCache();
  }

  /** The sequence of a request, with blocks for `most` drafts; null where there is no room, or it has its drafts already. */
  #follow(request: Request, most: number): DraftSequence | null {
    const end = request.numTokens + most;
    if (end > this.#executor.limits.maxModelLen) return null;
    const known = this.#sequences.get(request);
    if (known?.hasGuesses) return null;
    const sequence = known ?? this.#begin(request, end - 1);
    if (sequence === null || this.blocks.grow(sequence.table, end - 1) === NO_ROOM) return null;
    sequence.follow();
    return sequence;
  }

  /** A row and blocks for a sequence, the first of them from the prefix cache. */
  #begin(request: Request, end: number): DraftSequence | null {
    const sequence = new DraftSequence(request, this.#freeRows.at(-1) ?? -1);
    const start = this.blocks.lookup(request.tokens, request.numTokens - 1, request.table.salt);
    const numCached = start.numTokens;
    if (sequence.row < 0 || !this.blocks.admit(sequence.table, start, end, end)) return null;
    this.#freeRows.pop();
    sequence.numComputed = numCached;
    this.#sequences.set(request, sequence);
    return sequence;
  }

  /** Computes tokens that are missing in the cache, and samples none. */
  #compute(step: DraftStep, sequence: DraftSequence, queryLen: number): void {
    step.add(sequence, queryLen, false, this.#executor.limits.maxModelLen);
    sequence.numComputed += queryLen;
    const { table, request, numComputed } = sequence;
    this.blocks.register(table, request.tokens, numComputed);
  }

  async #guess(sequences: readonly DraftSequence[], times: number): Promise<void> {
    const step = new DraftStep(sequences.length, times);
    for (const sequence of sequences) step.add(sequence, 1, true, this.#executor.limits.maxModelLen);
    const { tokenIds, flags } = await this.#submit(step);
    for (const [i, sequence] of sequences.entries()) {
      const at = (repeat: number) => repeat * sequences.length + i;
      let live = 0;
      while (live < times && (flags[at(live)]! & SAMPLE_LIVE) !== 0) live++;
      let finite = 0;
      while (finite < live && (flags[at(finite)]! & SAMPLE_FINITE) !== 0) finite++;
      sequence.take(
        Uint32Array.from({ length: live }, (_, repeat) => tokenIds[at(repeat)]!),
        finite,
      );
    }
  }

  #submit(step: DraftStep): Promise<StepResult> {
    step.zeroBlocks = this.blocks.takeZeroBlocks();
    const result = this.#executor.submit(step);
    // Awaited in its turn; until then a rejection is not unhandled.
    result.catch(() => {});
    return result;
  }
}
