import type { AppContext } from '../../app/context.ts';
import { dispatch, type Fetch } from '../dispatch.ts';
import type { BatchOutcome } from '../output-line.ts';
import type { BatchRequest } from '../request-line.ts';
import type { BatchExecutor } from './batch-runner.ts';

/** How often a batch looks whether others still wait. */
const YIELD_MS = 20;
/** Under the policy `priority`: other requests overtake those of batches by ten levels. */
const PRIORITY = 10;

export interface LocalExecutorOptions {
  readonly fetch: Fetch;
  readonly engine: AppContext['engine'];
  /** Whether the engine schedules by priority. */
  readonly byPriority: boolean;
}

/**
 * Answers requests of batches with this server's engine, behind those of clients: they take half of the places at most, and none
 * while a request waits. Where the engine schedules by priority they also have a low one.
 */
export class LocalExecutor implements BatchExecutor {
  readonly concurrency: number;
  readonly #options: LocalExecutorOptions;

  constructor(options: LocalExecutorOptions) {
    this.#options = options;
    this.concurrency = Math.max(1, options.engine.limits.maxNumSeqs >> 1);
  }

  async execute(_: string, request: BatchRequest, signal: AbortSignal): Promise<BatchOutcome> {
    const { fetch, engine, byPriority } = this.#options;
    while (engine.stats().numRequestsWaiting > 0) {
      await new Promise(resolve => setTimeout(resolve, YIELD_MS));
      signal.throwIfAborted();
    }
    const defaults = byPriority ? { priority: PRIORITY } : {};
    return dispatch(request, { fetch, signal, defaults, maxTries: Number.POSITIVE_INFINITY });
  }
}
