import { HttpError } from '../http/errors.ts';
import type { Item } from './items.ts';

export interface StoredResponse {
  readonly id: string;
  /** As the API shows it. */
  readonly body: Readonly<Record<string, unknown>> & { readonly status: string; readonly output: readonly Item[] };
  /** What the request itself brought. */
  readonly input: readonly Item[];
  /** All that came before the output, earlier responses included. */
  readonly conversation: readonly Item[];
  /** Ends the response while it is in progress. */
  readonly cancel?: () => void;
}

/** Responses by id, in memory. The oldest go when there are too many, or too many bytes of them. */
export class ResponseStore {
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  readonly #entries = new Map<string, { response: StoredResponse; bytes: number }>();
  #bytes = 0;

  constructor(maxEntries: number, maxBytes: number) {
    this.#maxEntries = maxEntries;
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /** Throws HttpError 404 that names `param`. */
  get(id: string, param: string): StoredResponse {
    const entry = this.#entries.get(id);
    if (entry !== undefined) return entry.response;
    const shown = id.length > 80 ? `${id.slice(0, 80)}...` : id;
    const message = `${param}: there is no response "${shown}". This server keeps the last ${this.#maxEntries} in memory.`;
    throw new HttpError(404, message, { param, code: 'response_not_found' });
  }

  put(response: StoredResponse): void {
    this.delete(response.id);
    // Shared items are counted with each response that holds them: the bound is never too low.
    const bytes = JSON.stringify([response.body, response.conversation]).length;
    this.#entries.set(response.id, { response, bytes });
    this.#bytes += bytes;
    for (const id of this.#entries.keys()) {
      if (this.#entries.size <= this.#maxEntries && this.#bytes <= this.#maxBytes) break;
      this.delete(id);
    }
  }

  delete(id: string): void {
    this.#bytes -= this.#entries.get(id)?.bytes ?? 0;
    this.#entries.delete(id);
  }
}
