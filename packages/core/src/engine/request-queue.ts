import type { Request } from './request.ts';

/** Waiting requests by rank. They enter in O(1) at either end, where most do, and leave from anywhere in O(1). */
export class RequestQueue {
  #first: Request | null = null;
  #last: Request | null = null;
  #length = 0;
  #tokens = 0;

  get length(): number {
    return this.#length;
  }

  /** Of all that wait, output of preempted ones included. */
  get numTokens(): number {
    return this.#tokens;
  }

  get first(): Request | null {
    return this.#first;
  }

  insert(request: Request): void {
    const isFirst = this.#first === null || request.comesBefore(this.#first);
    let before = isFirst ? null : this.#last;
    while (before !== null && request.comesBefore(before)) before = before.before;
    const after = before === null ? this.#first : before.after;
    request.before = before;
    request.after = after;
    if (before === null) this.#first = request;
    else before.after = request;
    if (after === null) this.#last = request;
    else after.before = request;
    request.isQueued = true;
    this.#length++;
    this.#tokens += request.numTokens;
  }

  remove(request: Request): void {
    if (request.before === null) this.#first = request.after;
    else request.before.after = request.after;
    if (request.after === null) this.#last = request.before;
    else request.after.before = request.before;
    request.before = null;
    request.after = null;
    request.isQueued = false;
    this.#length--;
    this.#tokens -= request.numTokens;
  }

  *[Symbol.iterator](): Generator<Request> {
    for (let request = this.#first; request !== null; request = request.after) yield request;
  }
}
