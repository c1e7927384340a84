import { HttpError } from '../http/errors.ts';
import type { ReplyHeaders } from '../http/reply.ts';

/** Which web pages may read answers. Names are vLLM's. */
export interface CorsOptions {
  /** Such as `https://chat.example`, or `*`. Default: none. */
  allowedOrigins?: readonly string[] | undefined;
  /** Default `*`. */
  allowedMethods?: readonly string[] | undefined;
  /** Default `*`. */
  allowedHeaders?: readonly string[] | undefined;
  /** Let pages send cookies. Default false. */
  allowCredentials?: boolean | undefined;
}

interface Asked {
  readonly method: string;
  header(name: string): string | undefined;
}

const METHODS = 'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT';
/** What a page may read besides the headers that it always may. */
const EXPOSED = 'retry-after, x-request-id, x-quire-ignored-fields';
const MAX_AGE_S = '600';

/** Cross-origin resource sharing: tells browsers which pages may read answers. */
export class Cors {
  readonly #origins: ReadonlySet<string>;
  readonly #options: CorsOptions;

  constructor(options: CorsOptions) {
    this.#origins = new Set(options.allowedOrigins ?? []);
    this.#options = options;
  }

  allows(origin: string): boolean {
    return this.#origins.has('*') || this.#origins.has(origin);
  }

  /** Headers of every answer to a request of a page that may read it, errors included; none for others. */
  headers(request: Asked): ReplyHeaders {
    if (this.#origins.size === 0) return {};
    const origin = request.header('origin');
    if (origin === undefined || !this.allows(origin)) return { vary: 'origin' };
    // With credentials browsers take no star.
    const isForAll = this.#origins.has('*') && this.#options.allowCredentials !== true;
    return {
      'access-control-allow-origin': isForAll ? '*' : origin,
      'access-control-expose-headers': EXPOSED,
      ...(this.#options.allowCredentials === true ? { 'access-control-allow-credentials': 'true' } : {}),
      ...(isForAll ? {} : { vary: 'origin' }),
    };
  }

  /**
   * Headers of the answer to a browser that asks beforehand; null for another request. No key comes with such a question. Throws
   * HttpError 403 for an origin that is not allowed.
   */
  preflight(request: Asked): ReplyHeaders | null {
    const [origin, method] = [request.header('origin'), request.header('access-control-request-method')];
    if (this.#origins.size === 0 || request.method !== 'OPTIONS' || !origin || !method) return null;
    if (!this.allows(origin)) {
      throw new HttpError(403, 'Pages of this origin may not ask: see --allowed-origins.', {
        code: 'origin_not_allowed',
      });
    }
    const { allowedMethods = ['*'], allowedHeaders = ['*'] } = this.#options;
    const asked = request.header('access-control-request-headers') ?? '';
    return {
      'access-control-allow-methods': allowedMethods.includes('*') ? METHODS : allowedMethods.join(', '),
      ...(allowedHeaders.includes('*')
        ? { 'access-control-allow-headers': asked }
        : { 'access-control-allow-headers': allowedHeaders.join(', ') }),
      'access-control-max-age': MAX_AGE_S,
    };
  }
}
