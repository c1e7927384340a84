import type { Request } from './request.ts';
import type { StepBatch } from './step-batch.ts';

/**
 * Requests of a step that failed. While there are any, one of them runs at a time and alone, until it has sampled a token: so the
 * one at fault fails by itself, and costs no one else anything but time.
 */
export class Suspects {
  readonly #requests = new Set<Request>();

  get size(): number {
    return this.#requests.size;
  }

  /** Suspects all requests of a step that failed. Returns the one that failed alone, which is at fault, or null. */
  add(failed: StepBatch): Request | null {
    const first = failed.request(0);
    if (failed.numSequences === 1 && first.isSuspect) return first;
    for (let i = 0; i < failed.numSequences; i++) {
      const request = failed.request(i);
      if (request.status === 'finished') continue;
      request.isSuspect = true;
      this.#requests.add(request);
    }
    return null;
  }

  adopt(others: Suspects): void {
    for (const request of others.#requests) this.#requests.add(request);
  }

  /** The request is not, or no more, at fault. */
  acquit(request: Request): void {
    request.isSuspect = false;
    this.#requests.delete(request);
  }

  /** Whether a request takes part in the steps that are scheduled now. */
  lets(request: Request): boolean {
    if (this.#requests.size === 0) return true;
    const [suspect] = this.#requests;
    return request === suspect;
  }
}
