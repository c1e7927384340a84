import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { ConfigError } from '@quire/core';
import { ApiKeys } from '../http/auth.ts';
import { HttpError, toHttpError } from '../http/errors.ts';
import { checkHost, isLoopback } from '../http/host-check.ts';
import { sendError } from '../http/respond.ts';
import { type Router, targetPath } from '../http/router.ts';
import type { AppContext } from './context.ts';
import { createRoutes, HEALTH_PATH } from './routes.ts';

/** A client that sends its head or body slowly is cut off; the check runs often enough for that to hold. */
const TIMEOUTS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 5_000,
  connectionsCheckingInterval: 1_000,
};

export interface HttpServerOptions {
  host: string;
  port: number;
  apiKeys: readonly string[];
}

/** Sockets, routes and requests in progress. */
export class HttpServer {
  readonly router: Router;
  readonly #app: AppContext;
  readonly #keys: ApiKeys;
  readonly #options: HttpServerOptions;
  readonly #server: Server;
  readonly #active = new Set<AbortController>();
  #draining = false;

  constructor(app: AppContext, options: HttpServerOptions) {
    this.#app = app;
    this.#options = options;
    this.#keys = new ApiKeys(options.apiKeys);
    this.router = createRoutes(app, () => !this.#draining && engineLives(app));
    this.#server = createServer(TIMEOUTS, (req, res) => void this.#serve(req, res));
  }

  /** Resolves with the port. Rejects with ConfigError when the address cannot be bound. */
  listen(): Promise<number> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      const refused = (error: NodeJS.ErrnoException) => reject(cannotListen(error, host, port));
      this.#server.once('error', refused);
      this.#server.listen(port, host, () => {
        this.#server.off('error', refused);
        this.#server.on('error', error => this.#app.log.error({ err: error }, 'server error'));
        const address = this.#server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : port);
      });
    });
  }

  /** Takes no new requests, lets those in progress finish for `graceMs`, then aborts them. Resolves when all sockets are closed. */
  async close(graceMs: number): Promise<void> {
    this.#draining = true;
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()));
    const timer = setTimeout(() => this.abort(), graceMs);
    await closed;
    clearTimeout(timer);
  }

  /** Ends requests in progress with an error, and every connection. */
  abort(): void {
    for (const controller of this.#active) controller.abort(shuttingDown());
    setTimeout(() => this.#server.closeAllConnections(), 200).unref();
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const started = performance.now();
    const requestId = randomUUID().replaceAll('-', '');
    const client = new AbortController();
    this.#active.add(client);
    res.once('close', () => {
      this.#active.delete(client);
      if (this.#draining) setImmediate(() => this.#server.closeIdleConnections());
      if (!res.writableFinished) client.abort(new HttpError(499, 'The client closed the connection.'));
      this.#logAccess(req, res, requestId, performance.now() - started);
    });
    res.on('error', error => this.#app.log.debug({ requestId, err: error }, 'socket error'));
    res.setHeader('x-request-id', requestId);
    try {
      const path = targetPath(req.url ?? '/');
      this.#admit(req, res, path);
      const { handler, wildcard } = this.router.find(req.method ?? 'GET', path);
      await handler({ req, res, requestId, wildcard, signal: client.signal });
    } catch (error) {
      this.#refuse(res, requestId, client.signal, error);
    }
  }

  /** What is checked before anything of the request is looked at but its head. */
  #admit(req: IncomingMessage, res: ServerResponse, path: string): void {
    if (!this.#keys.required && isLoopback(this.#options.host)) checkHost(req);
    if (path === HEALTH_PATH) return;
    this.#keys.check(req);
    if (!this.#draining) return;
    res.setHeader('connection', 'close');
    throw shuttingDown();
  }

  #refuse(res: ServerResponse, requestId: string, signal: AbortSignal, error: unknown): void {
    const answer = toHttpError(signal.aborted ? (signal.reason ?? error) : error);
    if (answer.status >= 500) this.#app.log.error({ requestId, err: error }, 'request failed');
    else this.#app.log.debug({ requestId, err: error }, 'request refused');
    sendError(res, answer);
  }

  #logAccess(req: IncomingMessage, res: ServerResponse, requestId: string, ms: number): void {
    const path = targetPath(req.url ?? '/').slice(0, 200);
    const level = path === HEALTH_PATH || path === '/metrics' ? 'debug' : 'info';
    const fields = { requestId, method: req.method, path, status: res.statusCode, whole: res.writableFinished };
    this.#app.log[level]({ ...fields, ms: Math.round(ms) }, 'request');
  }
}

/** An engine that has work and has finished no step for this long hangs. */
const STALL_MS = 60_000;

function engineLives({ engine }: AppContext): boolean {
  return !engine.closed && performance.now() - engine.stats().lastProgress < STALL_MS;
}

function cannotListen({ code, message }: NodeJS.ErrnoException, host: string, port: number): ConfigError {
  const advice: Record<string, string> = {
    EADDRINUSE: 'the port is taken. Choose another, or 0 for any free one',
    EACCES: 'this user may not bind the port. Choose one above 1023',
    EADDRNOTAVAIL: 'the address is not one of this machine',
  };
  return new ConfigError(`Cannot listen on ${host} port ${port}: ${advice[code ?? ''] ?? message}.`, 'port');
}

function shuttingDown(): HttpError {
  return new HttpError(503, 'The server is shutting down.', { code: 'shutting_down', headers: { 'retry-after': '5' } });
}
