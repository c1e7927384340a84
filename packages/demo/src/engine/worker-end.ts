import type { EngineEnd } from './engine-end.ts';
import { type PortRequest, portFetch } from './exchange.ts';
import type { FromEngine, ToEngine } from './messages.ts';

/** To the worker alone. The answer comes on the port that is sent along. */
export interface FetchMessage {
  readonly kind: 'fetch';
  readonly request: PortRequest;
}

/** The engine in the worker of this page, which answers OpenAI's API without a server. */
export class WorkerEnd implements EngineEnd {
  readonly kind = 'tab';
  readonly apiUrl = new URL('/v1/', location.href);
  readonly fetch: typeof fetch;
  readonly #worker: Worker;

  constructor(worker: Worker) {
    this.#worker = worker;
    const answered = portFetch((request, port) => {
      worker.postMessage({ kind: 'fetch', request } satisfies FetchMessage, [port]);
    });
    const pageFetch = globalThis.fetch;
    this.fetch = (input, init) => {
      const { origin, pathname } = new URL(input instanceof Request ? input.url : input, document.baseURI);
      const isOurs = origin === location.origin && pathname.startsWith('/v1/');
      return isOurs ? answered(input, init) : pageFetch(input, init);
    };
  }

  send(message: ToEngine): void {
    this.#worker.postMessage(message);
  }

  listen(tell: (message: FromEngine) => void): void {
    this.#worker.addEventListener('message', ({ data }: MessageEvent<FromEngine>) => tell(data));
    this.#worker.addEventListener('error', ({ message }) => {
      tell({ kind: 'failed', message: message || 'The worker could not be started.' });
    });
  }
}
