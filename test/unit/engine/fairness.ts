import assert from 'node:assert/strict';
import type { LLMEngine, SchedulerOutput } from '@quire/core';

type Scheduler = LLMEngine['scheduler'];
type Request = Scheduler['running'][number];

/** Most tokens that are computed per token of work, over a whole run, however small the pool. Measured: up to 3. */
const MOST_COMPUTED = 8;

/** Watches that requests which run get on (S9), and that preemption does not eat what it is to serve (S8). */
export class Fairness {
  readonly #engine: LLMEngine;
  /** Submits in a row that left a request out. */
  readonly #idle = new Map<Request, number>();

  constructor(engine: LLMEngine) {
    this.#engine = engine;
  }

  /**
   * S9: a step leaves out a request that may run only where those before it use up a budget, and not for longer than all of them
   * need to end. To be called with every submit.
   */
  checkStep(step: SchedulerOutput): void {
    const { scheduler, limits } = this.#engine;
    const rows = new Set(step.rows);
    const isFull =
      sum(step.queryLens) === limits.maxNumBatchedTokens ||
      sum(step.sampleCounts) === limits.maxSamples ||
      scheduler.hostTier?.isSaving === true;
    const perStep = Math.min(limits.maxNumBatchedTokens, limits.maxSamples);
    const most = Math.ceil(((limits.maxNumSeqs - 1) * limits.maxModelLen) / perStep);
    for (const request of scheduler.running) {
      if (rows.has(request.row) || !mayRun(request, scheduler)) {
        this.#idle.delete(request);
        continue;
      }
      assert(isFull, 'S9: who may run is left out only where a budget is used up');
      const idle = (this.#idle.get(request) ?? 0) + 1;
      this.#idle.set(request, idle);
      assert(idle <= most, `S9: ${idle} steps without a token`);
    }
  }

  /** S8: to be called when nothing is left to run. `work`: tokens of all sequences, as many as they may have. */
  checkEnd(work: number, computed: number): void {
    const { preemptions } = this.#engine.scheduler.counters;
    assert(preemptions <= work, `S8: ${preemptions} preemptions for ${work} tokens`);
    assert(computed <= MOST_COMPUTED * work, `S8: ${computed} tokens were computed for ${work}`);
  }
}

function mayRun(request: Request, { suspects }: Scheduler): boolean {
  const { numComputed, virtualTokens, tokenLimit, waitsForHost } = request;
  return numComputed < virtualTokens && virtualTokens < tokenLimit && !waitsForHost && suspects.lets(request);
}

function sum(values: Int32Array): number {
  return values.reduce((total, value) => total + value, 0);
}
