import { Counter, Histogram, type Registry, Summary } from 'prom-client';
import { httpDuration, httpDurationFine } from './buckets.ts';
import { Series } from './series.ts';

/** What is asked all the time by machines, and would drown the rest. */
const NOT_COUNTED = ['/metrics', '/health', '/live', '/ping', '/load', '/version'];

/** One answered request. */
export interface HttpExchange {
  readonly method: string;
  /** The route, not the path: paths are the client's. null: there is none for it. */
  readonly route: string | null;
  readonly status: number;
  readonly milliseconds: number;
  /** As announced in the headers; 0 where they do not say. */
  readonly requestBytes: number;
  readonly responseBytes: number;
}

/** HTTP metrics under the names that vLLM's instrumentator gives them. */
export class HttpMetrics {
  readonly #requests: Counter;
  readonly #requestBytes: Summary;
  readonly #responseBytes: Summary;
  readonly #duration: Histogram;
  readonly #durationFine: Series;

  constructor(registry: Registry) {
    const registers = [registry];
    const handler = ['handler'];
    this.#requests = new Counter({
      name: 'http_requests_total',
      help: 'Requests by method, status and handler.',
      labelNames: ['handler', 'status', 'method'],
      registers,
    });
    const size = { labelNames: handler, registers, percentiles: [] };
    this.#requestBytes = new Summary({ name: 'http_request_size_bytes', help: 'Length of requests.', ...size });
    this.#responseBytes = new Summary({ name: 'http_response_size_bytes', help: 'Length of responses.', ...size });
    this.#durationFine = new Series(
      registry,
      'http_request_duration_highr_seconds',
      'Time to the last byte of the response, in many buckets.',
      httpDurationFine,
    );
    this.#duration = new Histogram({
      name: 'http_request_duration_seconds',
      help: 'Time to the last byte of the response by handler.',
      labelNames: ['handler', 'method'],
      buckets: httpDuration,
      registers,
    });
  }

  observe({ method, route, status, milliseconds, requestBytes, responseBytes }: HttpExchange): void {
    const handler = route ?? 'none';
    if (NOT_COUNTED.includes(handler)) return;
    const known = KNOWN_METHODS.includes(method) ? method : 'OTHER';
    this.#requests.inc({ handler, status: `${Math.floor(status / 100)}xx`, method: known });
    this.#requestBytes.observe({ handler }, requestBytes);
    this.#responseBytes.observe({ handler }, responseBytes);
    this.#durationFine.observe(milliseconds / 1000);
    this.#duration.observe({ handler, method: known }, milliseconds / 1000);
  }
}

/** Of other methods a client could invent any number. */
const KNOWN_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
