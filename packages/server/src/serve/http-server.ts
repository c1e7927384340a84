import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { ConfigError } from '@quire/core';
import type { App } from '../app/app.ts';
import type { AppLog } from '../app/context.ts';
import { OPEN_PATHS } from '../app/routes.ts';
import { HttpError, shuttingDown } from '../http/errors.ts';
import type { Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import type { HttpExchange } from '../metrics/http-metrics.ts';
import { ApiKeys } from './auth.ts';
import { checkHost, isLoopback } from './host-check.ts';
import { sendReply } from './node-reply.ts';
import { NodeRequest } from './node-request.ts';

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
  /** Told of every request once it is answered or its client has gone. */
  onExchange?: ((exchange: HttpExchange) => void) | undefined;
}

/** An app on a port: sockets, keys and requests in progress. */
export class HttpServer {
  readonly #app: App;
  readonly #log: AppLog;
  readonly #keys: ApiKeys;
  readonly #options: HttpServerOptions;
  readonly #server: Server;
  readonly #active = new Set<AbortController>();

  constructor(app: App, options: HttpServerOptions) {
    this.#app = app;
    this.#log = app.context.log;
    this.#options = options;
    this.#keys = new ApiKeys(options.apiKeys);
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
        this.#server.on('error', error => this.#log.error({ err: error }, 'server error'));
        const address = this.#server.address();
        resolve(typeof address === 'object' && address !== null ? address.port : port);
      });
    });
  }

  /** Takes no new requests, lets those in progress finish for `graceMs`, then aborts them. Resolves when all sockets are closed. */
  async close(graceMs: number): Promise<void> {
    this.#app.drain();
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
    const client = new AbortController();
    const request = new NodeRequest(req, client.signal);
    const { requestId } = request;
    this.#active.add(client);
    res.once('close', () => {
      this.#active.delete(client);
      if (this.#app.draining) setImmediate(() => this.#server.closeIdleConnections());
      if (!res.writableFinished) client.abort(new HttpError(499, 'The client closed the connection.'));
      this.#record(request, req, res, performance.now() - started);
    });
    res.on('error', error => this.#log.debug({ requestId, err: error }, 'socket error'));
    res.setHeader('x-request-id', requestId);
    if (this.#app.draining) res.setHeader('connection', 'close');
    sendReply(res, await this.#reply(request), this.#app.context.streamLimits);
  }

  async #reply(request: AppRequest): Promise<Reply> {
    try {
      this.#admit(request);
    } catch (error) {
      return this.#app.refuse(request, error);
    }
    return this.#app.handle(request);
  }

  /** What is checked before anything of the request is looked at but its head. */
  #admit(request: AppRequest): void {
    if (!this.#keys.required && isLoopback(this.#options.host)) checkHost(request.header('host'));
    if (!OPEN_PATHS.includes(request.path)) this.#keys.check(authorization(request));
  }

  #record(request: AppRequest, req: IncomingMessage, res: ServerResponse, milliseconds: number): void {
    this.#logAccess(request, res, milliseconds);
    this.#options.onExchange?.({
      method: request.method,
      route: this.#app.routes.routeOf(request.path),
      status: res.statusCode,
      milliseconds,
      requestBytes: Number(req.headers['content-length'] ?? 0),
      responseBytes: Number(res.getHeader('content-length') ?? 0),
    });
  }

  #logAccess({ requestId, method, path }: AppRequest, res: ServerResponse, ms: number): void {
    const level = path === '/health' || path === '/metrics' ? 'debug' : 'info';
    const fields = { requestId, method, path: path.slice(0, 200) };
    this.#log[level]({ ...fields, status: res.statusCode, whole: res.writableFinished, ms: Math.round(ms) }, 'request');
  }
}

/** Clients of Anthropic send their key in a header of its own. */
function authorization(request: AppRequest): string | undefined {
  const key = request.header('x-api-key');
  return request.header('authorization') ?? (key === undefined ? undefined : `Bearer ${key}`);
}

function cannotListen({ code, message }: NodeJS.ErrnoException, host: string, port: number): ConfigError {
  const advice: Record<string, string> = {
    EADDRINUSE: 'the port is taken. Choose another, or 0 for any free one',
    EACCES: 'this user may not bind the port. Choose one above 1023',
    EADDRNOTAVAIL: 'the address is not one of this machine',
  };
  return new ConfigError(`Cannot listen on ${host} port ${port}: ${advice[code ?? ''] ?? message}.`, 'port');
}
