import type { BatchCounts } from './run-batch.ts';

const INTERVAL_MS = 5_000;

/** Tells how far a batch is, every few seconds. */
export class BatchProgress {
  readonly #write: (text: string) => void;
  readonly #intervalMs: number;
  readonly #started = performance.now();
  #told = Number.NEGATIVE_INFINITY;

  constructor(write: (text: string) => void, intervalMs = INTERVAL_MS) {
    this.#write = write;
    this.#intervalMs = intervalMs;
  }

  update(counts: BatchCounts): void {
    if (performance.now() - this.#told < this.#intervalMs) return;
    this.#told = performance.now();
    this.#write(`${this.#describe(counts)}\n`);
  }

  finish(counts: BatchCounts): void {
    this.#write(`${this.#describe(counts)}, finished\n`);
  }

  #describe({ total, skipped, completed, failed, completionTokens }: BatchCounts): string {
    const seconds = (performance.now() - this.#started) / 1000;
    const done = completed + failed;
    const left = done === 0 ? null : ((total - skipped - done) * seconds) / done;
    return [
      `run-batch: ${skipped + done} of ${total} requests`,
      `${failed} failed`,
      ...(skipped === 0 ? [] : [`${skipped} from an earlier run`]),
      `${(completionTokens / seconds).toFixed(1)} tokens/s`,
      ...(left === null || left <= 0 ? [] : [`about ${Math.ceil(left)} s left`]),
    ].join(', ');
  }
}
