import type { Request } from './request.ts';

/** Waiting requests in the order in which they will run. Requests leave from anywhere in O(1). */
export class RequestQueue {
  #first: Request | null = null;
  #last: Request | null = null;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get first(): Request | null {
    return this.#first;
  }

  append(request: Request): void {
    request.before = this.#last;
    if (this.#last === null) this.#first = request;
    else this.#last.after = request;
    this.#last = request;
    this.#length++;
  }

  prepend(request: Request): void {
    request.after = this.#first;
    if (this.#first === null) this.#last = request;
    else this.#first.before = request;
    this.#first = request;
    this.#length++;
  }

  remove(request: Request): void {
    if (request.before === null) this.#first = request.after;
    else request.before.after = request.after;
    if (request.after === null) this.#last = request.before;
    else request.after.before = request.before;
    request.before = null;
    request.after = null;
    this.#length--;
  }

  *[Symbol.iterator](): Generator<Request> {
    for (let request = this.#first; request !== null; request = request.after) yield request;
  }
}
