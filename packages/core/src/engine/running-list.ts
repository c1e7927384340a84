import type { Request } from './request.ts';

/** The requests that run, in the order of their rank, and their rows. */
export class RunningList {
  readonly requests: Request[] = [];
  /** i32 [maxRows]: the row of each of `requests`. */
  readonly rows: Int32Array;
  /** Raised when a request comes or goes. */
  version = 0;

  constructor(maxRows: number) {
    this.rows = new Int32Array(maxRows);
  }

  /** Takes in a request that has its row. */
  insert(request: Request): void {
    const { requests, rows } = this;
    this.version++;
    let at = requests.length;
    while (at > 0 && request.comesBefore(requests[at - 1]!)) at--;
    rows.copyWithin(at + 1, at, requests.length);
    rows[at] = request.row;
    requests.splice(at, 0, request);
  }

  remove(request: Request): void {
    this.removeAt(this.requests.indexOf(request));
  }

  removeAt(at: number): Request {
    this.version++;
    this.rows.copyWithin(at, at + 1, this.requests.length);
    return this.requests.splice(at, 1)[0]!;
  }

  removeAll(): Request[] {
    this.version++;
    return this.requests.splice(0);
  }
}
