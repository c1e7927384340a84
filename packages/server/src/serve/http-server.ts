import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import type { App } from '../app/app.ts';
import type { AppLog } from '../app/context.ts';
import { METRICS_PATH } from '../app/routes.ts';
import { allTaken, connectionTaken } from '../event-loop.ts';
import { clientGone, shuttingDown } from '../http/errors.ts';
import type { Reply } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import type { HttpExchange } from '../metrics/http-metrics.ts';
import { Arrivals } from './arrivals.ts';
import { ApiKeys } from './auth.ts';
import { Cors, type CorsOptions } from './cors.ts';
import { checkHost, checkOrigin, isLoopback } from './host-check.ts';
import { listen } from './listen.ts';
import { sendReply } from './node-reply.ts';
import { NodeRequest } from './node-request.ts';
import { createTlsServer, readTls, refreshTls, type TlsOptions } from './tls.ts';
import type { Tracing } from './tracing.ts';

/** A client that sends its head or body slowly is cut off; the check runs often enough for that to hold. */
const TIMEOUTS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 10_000,
  connectionsCheckingInterval: 1_000,
};

/** Clients are told less than connections are kept for: one that is used at its last moment would be closed under a request. */
const KEEP_ALIVE = 'timeout=5';

/** How long a server that drains goes on to listen, and to answer that it does. */
const LINGER_MS = 250;

/** What machines ask all the time. */
const QUIET_PATHS = ['/health', '/live', '/ping', '/metrics', '/load'];

export interface HttpServerOptions extends CorsOptions, TlsOptions {
  host: string;
  port: number;
  /** A socket in the file system to listen on instead. Names are vLLM's. */
  uds?: string | undefined;
  apiKeys: readonly string[];
  /** Answer /metrics without a key, as vLLM does. Default false. */
  openMetrics?: boolean | undefined;
  /** What a proxy in front puts before every path, or takes away. */
  rootPath?: string | undefined;
  /** Take the request id of the client's X-Request-Id. Default false: ids are ours. */
  enableRequestIdHeaders?: boolean | undefined;
  /** Log no line per request. Default false. */
  disableAccessLog?: boolean | undefined;
  /** Makes spans of requests. Default: none. */
  tracing?: Tracing | undefined;
  /** Told of every request once it is answered or its client has gone. */
  onExchange?: ((exchange: HttpExchange) => void) | undefined;
}

/** An app on a port: sockets, keys and requests in progress. */
export class HttpServer {
  readonly #app: App;
  readonly #log: AppLog;
  readonly #keys: ApiKeys;
  readonly #cors: Cors;
  readonly #options: HttpServerOptions;
  /** Speaks TLS. */
  readonly isSecure: boolean;
  readonly #server: Server | TlsServer;
  /** Of this machine alone, and of everybody on it. */
  readonly #isOpenLocally: boolean;
  readonly #active = new Set<AbortController>();
  readonly #arrivals = new Arrivals();

  /** Throws ConfigError for keys and certificates that cannot be used. */
  constructor(app: App, options: HttpServerOptions) {
    this.#app = app;
    this.#log = app.context.log;
    this.#options = options;
    this.#keys = new ApiKeys(options.apiKeys);
    if (options.openMetrics === true) app.open([METRICS_PATH]);
    this.#cors = new Cors(options);
    this.#isOpenLocally = !this.#keys.required && options.uds === undefined && isLoopback(options.host);
    const tls = readTls(options);
    this.isSecure = tls !== null;
    this.#server = tls === null ? createServer(TIMEOUTS) : createTlsServer(tls, TIMEOUTS);
    // Who closes one side only is still told why there is no other answer.
    Object.assign(this.#server, { httpAllowHalfOpen: true });
    this.#server.on('connection', connectionTaken);
    this.#server.on('request', (req, res) => void this.#serve(req, res));
  }

  /** Resolves with the port. Rejects with ConfigError when the address cannot be bound. */
  async listen(): Promise<number> {
    const { host, port, uds } = this.#options;
    const server = this.#server;
    const bound = await listen(server, uds === undefined ? { host, port } : { uds });
    server.on('error', error => this.#log.error({ err: error }, 'server error'));
    if (this.isSecure && this.#options.enableSslRefresh === true) this.#refreshTls(server as TlsServer);
    return bound;
  }

  #refreshTls(server: TlsServer): void {
    const told = (error: unknown) => {
      if (error === null) this.#log.info({}, 'certificates were taken up anew');
      else this.#log.error({ err: error }, 'certificates that were replaced cannot be used; the old ones stay');
    };
    server.once('close', refreshTls(server, this.#options, told));
  }

  /** Takes no new requests, lets those in progress finish for `graceMs`, then aborts them. Resolves when all sockets are closed. */
  async close(graceMs: number): Promise<void> {
    this.#app.drain();
    // What was sent before and is not read yet is answered too; to a socket that is closed at once it would be lost.
    await sleep(Math.min(LINGER_MS, graceMs));
    // However late this timer is: connections are accepted one in a turn of the loop, and read in the next.
    await allTaken();
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
    const request = new NodeRequest(req, client.signal, this.#options);
    const { requestId } = request;
    const { socket } = req;
    const leave = () => client.abort(clientGone());
    const isQuiet = QUIET_PATHS.includes(request.path);
    const span = isQuiet ? undefined : this.#options.tracing?.begin(request, req.headers);
    this.#active.add(client);
    // A client that is gone and one that has closed one side look alike. What is computed for the first would be computed for nobody.
    socket.once('end', leave);
    res.once('close', () => {
      socket.off('end', leave);
      this.#active.delete(client);
      if (this.#app.draining) setImmediate(() => this.#server.closeIdleConnections());
      if (!res.writableFinished) leave();
      span?.end(res.statusCode, this.#app.routes.routeOf(request.path));
      this.#record(request, req, res, { milliseconds: performance.now() - started, traceId: span?.traceId ?? null });
    });
    res.on('error', error => this.#log.debug({ requestId, err: error }, 'socket error'));
    res.setHeader('x-request-id', request.label ?? requestId);
    for (const [name, value] of Object.entries(this.#cors.headers(request))) res.setHeader(name, value);
    if (this.#app.draining) res.setHeader('connection', 'close');
    else res.setHeader('keep-alive', KEEP_ALIVE);
    // What will be refused is refused at once.
    if (!isQuiet && request.method === 'POST' && !this.#app.context.admission.isFull) {
      const begin = this.#app.context.admission.arrive();
      await this.#arrivals.turn(() => client.signal.aborted);
      begin();
    }
    if (res.destroyed) return;
    const reply = client.signal.aborted ? this.#app.refuse(request, client.signal.reason) : await this.#reply(request);
    sendReply(res, reply, this.#app.context.streamLimits);
  }

  async #reply(request: AppRequest): Promise<Reply> {
    try {
      if (this.#isOpenLocally) this.#checkWhere(request);
      const preflight = this.#cors.preflight(request);
      if (preflight !== null) return { status: 200, headers: preflight, body: '' };
      if (!this.#app.isOpen(request.path)) this.#keys.check(name => request.header(name));
    } catch (error) {
      return this.#app.refuse(request, error);
    }
    return this.#app.handle(request);
  }

  /** Without keys on a loopback address: keeps out web pages, which a browser lets ask anything of this machine. */
  #checkWhere(request: AppRequest): void {
    checkHost(request.header('host'));
    checkOrigin(request.header('origin'), origin => this.#cors.allows(origin));
  }

  #record(
    request: AppRequest,
    req: IncomingMessage,
    res: ServerResponse,
    { milliseconds, traceId }: { milliseconds: number; traceId: string | null },
  ): void {
    const { requestId, label, method, path } = request;
    const named = label === null ? {} : { label };
    const level = this.#options.disableAccessLog === true || QUIET_PATHS.includes(path) ? 'debug' : 'info';
    const who = { requestId, ...named, ...(traceId === null ? {} : { traceId }), method, path: path.slice(0, 200) };
    const outcome = { status: res.statusCode, whole: res.writableFinished, ms: Math.round(milliseconds) };
    this.#log[level]({ ...who, ...outcome }, 'request');
    this.#options.onExchange?.({
      method,
      route: this.#app.routes.routeOf(path),
      status: res.statusCode,
      milliseconds,
      requestBytes: Number(req.headers['content-length'] ?? 0),
      responseBytes: Number(res.getHeader('content-length') ?? 0),
    });
  }
}
