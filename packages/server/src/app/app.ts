import { anthropicError } from '../anthropic/errors.ts';
import { clientGone, shuttingDown, toHttpError } from '../http/errors.ts';
import { errorReply, type Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import type { Router } from '../http/router.ts';
import { toResponse, WebRequest } from '../http/web.ts';
import type { AppContext } from './context.ts';
import { createRoutes, OPEN_PATHS, WATCHED_PATHS } from './routes.ts';

/**
 * The HTTP surface as a function from a request to its reply. It opens no socket and reads no file: Node's HttpServer puts it on
 * a port, and in a browser tab or a test `fetch` is all there is.
 */
export class App {
  readonly context: AppContext;
  readonly routes: Router;
  readonly #drain = new AbortController();
  readonly #open = new Set(OPEN_PATHS);

  constructor(context: Omit<AppContext, 'ready'>) {
    this.context = { ...context, ready: () => !this.draining && engineLives(this.context) };
    this.routes = createRoutes(this.context);
  }

  /** From now on new requests are refused with 503; those in progress go on. */
  drain(): void {
    this.#drain.abort();
  }

  get draining(): boolean {
    return this.#drain.signal.aborted;
  }

  /** Aborts when `drain` is called: for what would else never end. */
  get drainSignal(): AbortSignal {
    return this.#drain.signal;
  }

  /** From now on these paths need no key. */
  open(paths: readonly string[]): void {
    for (const path of paths) this.#open.add(path);
  }

  isOpen(path: string): boolean {
    return this.#open.has(path);
  }

  /** Answers a request. Never rejects: what goes wrong is a reply too. */
  async handle(request: AppRequest): Promise<Reply> {
    try {
      if (this.draining && !WATCHED_PATHS.includes(request.path)) throw shuttingDown();
      const { handler, wildcard } = this.routes.find(request.method, request.path);
      return await handler(request, wildcard);
    } catch (error) {
      return this.refuse(request, error);
    }
  }

  /** The reply to a request that failed, which is logged. */
  refuse({ requestId, path, signal }: AppRequest, error: unknown): Reply {
    const answer = toHttpError(signal.aborted ? (signal.reason ?? error) : error);
    if (answer.status >= 500) this.context.log.error({ requestId, err: error }, 'request failed');
    else this.context.log.debug({ requestId, err: error }, 'request refused');
    return path.startsWith('/v1/messages') ? errorReply(answer, anthropicError(answer)) : errorReply(answer);
  }

  /**
   * The same for the Fetch API. The signal of the request, and leaving the body of a streamed response, abort the request. The
   * body of a stream that failed ends with an error event and then errors.
   */
  async fetch(request: Request): Promise<Response> {
    const client = new AbortController();
    const leave = () => client.abort(clientGone());
    if (request.signal.aborted) leave();
    request.signal.addEventListener('abort', leave, { once: true });
    const given = new WebRequest(request, client.signal);
    const reply = await this.handle(given);
    const headers = { 'x-request-id': given.label ?? given.requestId, ...reply.headers };
    return toResponse({ ...reply, headers }, this.context.streamLimits, leave);
  }
}

/** An engine that has work and has finished no step for this long hangs. */
const STALL_MS = 60_000;

function engineLives({ engine }: AppContext): boolean {
  if (engine.closed || engine.isResponsive === false) return false;
  return engine.isSleeping || performance.now() - engine.stats().lastProgress < STALL_MS;
}
