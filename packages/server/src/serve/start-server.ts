import {
  type AsyncLLM,
  ConfigError,
  type EngineConfig,
  type EngineObserver,
  type EngineOptions,
  parseEngineConfig,
} from '@quire/core';
import type { Logger } from 'pino';
import type { App } from '../app/app.ts';
import { silentLog } from '../app/context.ts';
import { type AppOptions, createApp } from '../app/create-app.ts';
import type { BatchApi, BatchApiOptions } from '../batch/api/batch-api.ts';
import { StepFeed } from '../dashboard/step-feed.ts';
import type { EngineProcess } from '../engine-process/engine-process.ts';
import type { HttpExchange } from '../metrics/http-metrics.ts';
import { describeTransfer } from '../node/transfer-progress.ts';
import { checkParserNames } from '../openai/chat-features.ts';
import { ThreadedTokenizer } from '../tokenizer/threaded-tokenizer.ts';
import { openAdapterFolders } from './adapter-folders.ts';
import { BootTimeline } from './boot.ts';
import { Cleanup } from './cleanup.ts';
import type { HttpServerOptions } from './http-server.ts';
import type { EngineDescription } from './open-engine.ts';
import { serveFromProcess, serveInProcess } from './serving.ts';
import { StatsLogger } from './stats-logger.ts';

/** Adapters that may be loaded at once where requests load them, unless maxCpuLoras says otherwise. */
const ADAPTERS_OF_REQUESTS = 16;

/** An adapter to serve from the start. */
export interface LoraModule {
  readonly name: string;
  readonly path: string;
}

/** How the server is reached, and by whom. */
type AccessOptions = Omit<HttpServerOptions, 'host' | 'port' | 'apiKeys' | 'onExchange' | 'tracing'>;

export interface ServerOptions
  extends EngineOptions,
    Omit<AppOptions, 'modelNames' | 'maxNumQueuedReqs' | 'adapterFolders'>,
    AccessOptions {
  /** Folder of the model. */
  model: string;
  /** Default `auto`. */
  device?: string;
  /** Default 127.0.0.1: this machine alone. */
  host?: string;
  /** 0 takes a free port. Default 8000. */
  port?: number;
  /**
   * Run the engine in a process of its own, which is replaced when it ends: no request is lost with it. A URL: the program of that
   * process. Default false.
   */
  engineProcess?: boolean | URL;
  /** Accepted keys. None: every request is let in. */
  apiKeys?: readonly string[];
  /** Adapters that are served under names of their own. Needs enableLora. */
  loraModules?: readonly LoraModule[] | undefined;
  /** Folders from which requests may load adapters. Default: they load none. Needs enableLora. */
  loraFolder?: readonly string[] | undefined;
  /** Folder for files and batches, of this server alone. Default: there are no /v1/files and /v1/batches. */
  batchFolder?: string | undefined;
  /** Address of a Redis through which servers share the requests of batches, such as redis://host:6379. */
  batchQueue?: string | undefined;
  /** Serve the page that shows the engine's steps, at /ui/. Default false. */
  ui?: boolean | undefined;
  /** Default: silent. */
  log?: Logger;
}

export interface RunningServer {
  readonly host: string;
  readonly port: number;
  /** Where it is reached, such as `http://127.0.0.1:8000`. */
  readonly url: string;
  readonly modelNames: readonly string[];
  readonly engine: AsyncLLM | EngineProcess;
  readonly description: EngineDescription;
  /** How long each stage of the start took. */
  readonly bootTimeline: string;
  /** Resolves with the reason when the engine is gone for good: the server answers nothing any more. */
  readonly givenUp: Promise<Error>;
  /** Lets requests in progress finish for `graceMs` (default 30 s), ends the others with an error, and frees everything. */
  close(graceMs?: number): Promise<void>;
}

/**
 * Loads a model and serves it over HTTP. Rejects with ConfigError for wrong options or an address that cannot be bound, and
 * with ModelFormatError for a broken model.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const {
    device = 'auto',
    engineProcess = false,
    host = '127.0.0.1',
    port = 8000,
    apiKeys = [],
    log: givenLog,
    batchFolder,
    batchQueue,
    ui = false,
    loraModules = [],
    loraFolder = [],
    ...rest
  } = options;
  const { strict, enableSleepMode, maxBodyBytes, maxBufferedBytes, slowClientMs, ...others } = rest;
  const { toolCallParser, enableAutoToolChoice, reasoningParser, ...remaining } = others;
  const features = { toolCallParser, enableAutoToolChoice, reasoningParser };
  checkParserNames(features);
  const { access, engineOptions: askedOptions } = splitAccess(remaining);
  const asked = parseEngineConfig(askedOptions);
  const bound = loraFolder.length > 0 ? adapterBound(asked) : {};
  const [engineOptions, config] = [
    { ...askedOptions, ...bound },
    { ...asked, ...bound },
  ];
  checkLora(config, { loraModules, loraFolder });
  const timeline = new BootTimeline();
  const cleanup = new Cleanup();
  try {
    // Modules of the HTTP side load while the engine opens.
    const parts = loadHttpParts();
    const observer: { target?: EngineObserver } = {};
    const open = engineProcess === false ? serveInProcess : serveFromProcess;
    const steps = new StepFeed(isWatched => serving.watchSteps(isWatched));
    const serving = cleanup.with(
      await open(engineOptions, {
        config,
        device,
        log: givenLog ?? silentLog,
        observer: forwardTo(observer),
        onStage: (name, ms) => timeline.add(name, ms),
        onTrace: trace => steps.publish(trace),
        onLoading: report => givenLog?.info({ ...report }, `Loading weights: ${describeTransfer(report)}`),
        ...(engineProcess instanceof URL ? { entry: engineProcess } : {}),
      }),
      opened => opened.close(),
    );
    const { engine, tokenizer, description, givenUp } = serving;
    const { pino, Metrics, HttpServer, Tracing } = await parts;
    const log = givenLog ?? pino({ level: 'silent' });
    const threaded = cleanup.with(new ThreadedTokenizer(tokenizer, config), t => t.dispose());
    const modelNames = config.servedModelName;
    const metrics = cleanup.with(new Metrics(engine, modelNames[0]!, config), async m => m.stop());
    const tracing = new Tracing(modelNames[0]!);
    observer.target = tellBoth(metrics, tracing);
    const app = createApp(
      { engine, tokenizer: threaded, metrics, log },
      {
        modelNames,
        strict,
        enableSleepMode,
        maxNumQueuedReqs: config.maxNumQueuedReqs ?? undefined,
        maxBodyBytes,
        maxBufferedBytes,
        slowClientMs,
        adapterFolders: loraFolder.length === 0 ? undefined : await openAdapterFolders(loraFolder),
        ...features,
      },
    );
    for (const { name, path } of loraModules) await app.context.adapters.add(name, path);
    if (!config.disableLogStats) cleanup.with(new StatsLogger(engine, log), async logger => logger.stop());
    if (batchFolder !== undefined || batchQueue !== undefined) {
      const byPriority = config.schedulingPolicy === 'priority';
      cleanup.with(await openBatchApi(app, { folder: batchFolder, queue: batchQueue, byPriority }), api => api.close());
    }
    if (ui) await openDashboard(app, steps, description);
    const onExchange = (exchange: HttpExchange) => metrics.http.observe(exchange);
    const server = new HttpServer(app, { ...access, host, port, apiKeys, onExchange, tracing });
    const boundPort = await server.listen();
    const close = async (graceMs = 30_000) => {
      await server.close(graceMs);
      await cleanup.run();
    };
    const url = urlOf(host, boundPort, server.isSecure, access.uds);
    const bootTimeline = timeline.describe();
    return { host, port: boundPort, url, modelNames, engine, description, bootTimeline, givenUp, close };
  } catch (error) {
    await cleanup.run();
    throw error;
  }
}

function checkLora({ enableLora }: EngineConfig, options: Readonly<Record<string, readonly unknown[]>>): void {
  for (const [name, values] of Object.entries(options)) {
    if (values.length > 0 && !enableLora) throw new ConfigError(`${name} needs enableLora.`, name);
  }
}

/** Requests that may load adapters must not fill the host's memory with them. */
function adapterBound({ maxCpuLoras, maxLoras }: EngineConfig): { maxCpuLoras?: number } {
  return maxCpuLoras === null ? { maxCpuLoras: Math.max(ADAPTERS_OF_REQUESTS, maxLoras) } : {};
}

function splitAccess(options: AccessOptions & EngineOptions): { access: AccessOptions; engineOptions: EngineOptions } {
  const { uds, rootPath, enableRequestIdHeaders, disableAccessLog, openMetrics, ...rest } = options;
  const { sslCertfile, sslKeyfile, sslCaCerts, enableSslRefresh, ...others } = rest;
  const { allowedOrigins, allowedMethods, allowedHeaders, allowCredentials, ...engineOptions } = others;
  const tls = { sslCertfile, sslKeyfile, sslCaCerts, enableSslRefresh };
  const cors = { allowedOrigins, allowedMethods, allowedHeaders, allowCredentials };
  const access = { uds, rootPath, enableRequestIdHeaders, disableAccessLog, openMetrics, ...tls, ...cors };
  return { access, engineOptions };
}

function urlOf(host: string, port: number, isSecure: boolean, uds: string | undefined): string {
  const scheme = isSecure ? 'https' : 'http';
  if (uds !== undefined) return `${scheme}+unix://${encodeURIComponent(uds)}`;
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

async function loadHttpParts() {
  const [{ pino }, { Metrics }, { HttpServer }, { Tracing }] = await Promise.all([
    import('pino'),
    import('../metrics/metrics.ts'),
    import('./http-server.ts'),
    import('./tracing.ts'),
  ]);
  return { pino, Metrics, HttpServer, Tracing };
}

async function openBatchApi(app: App, options: BatchApiOptions): Promise<BatchApi> {
  const { BatchApi } = await import('../batch/api/batch-api.ts');
  return BatchApi.open(app, options);
}

async function openDashboard(app: App, steps: StepFeed, description: EngineDescription): Promise<void> {
  const { addDashboard } = await import('../dashboard/dashboard.ts');
  await addDashboard(app, steps, description);
}

/** The metrics are made when the engine is there. */
function forwardTo(observer: { target?: EngineObserver }): EngineObserver {
  return {
    onStep: report => observer.target?.onStep?.(report),
    onRequestFinished: request => observer.target?.onRequestFinished?.(request),
  };
}

function tellBoth(one: EngineObserver, other: EngineObserver): EngineObserver {
  return {
    onStep: report => {
      one.onStep?.(report);
      other.onStep?.(report);
    },
    onRequestFinished: request => {
      one.onRequestFinished?.(request);
      other.onRequestFinished?.(request);
    },
  };
}
