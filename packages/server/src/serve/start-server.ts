import {
  ConfigError,
  type EngineObserver,
  type EngineOptions,
  type LoadEngineOptions,
  type LoadedEngine,
  loadEngine,
  type ModelInputs,
  openModelInputs,
  parseEngineConfig,
} from '@quire/core';
import type { Device } from '@quire/core/contract';
import type { Logger } from 'pino';
import { type AppOptions, createApp } from '../app/create-app.ts';
import { nodeRuntime } from '../node/llm.ts';
import { BootTimeline } from './boot.ts';
import { StatsLogger } from './stats-logger.ts';

export interface ServerOptions extends EngineOptions, Omit<AppOptions, 'modelNames' | 'maxNumQueuedReqs'> {
  /** Folder of the model. */
  model: string;
  /** Default `auto`. */
  device?: string;
  /** Default 127.0.0.1: this machine alone. */
  host?: string;
  /** 0 takes a free port. Default 8000. */
  port?: number;
  /** Accepted keys. None: every request is let in. */
  apiKeys?: readonly string[];
  /** Default: silent. */
  log?: Logger;
}

export interface RunningServer {
  readonly host: string;
  readonly port: number;
  readonly modelNames: readonly string[];
  readonly device: Device['info'];
  readonly engine: LoadedEngine;
  /** How long each stage of the start took. */
  readonly bootTimeline: string;
  /** Lets requests in progress finish for `graceMs` (default 30 s), ends the others with an error, and frees everything. */
  close(graceMs?: number): Promise<void>;
}

/**
 * Loads a model and serves it over HTTP. Rejects with ConfigError for wrong options or an address that cannot be bound, and
 * with ModelFormatError for a broken model.
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const {
    device: deviceName = 'auto',
    host = '127.0.0.1',
    port = 8000,
    apiKeys = [],
    log: givenLog,
    ...rest
  } = options;
  const { strict, enableSleepMode, maxBodyBytes, maxBufferedBytes, slowClientMs, ...engineOptions } = rest;
  const config = parseEngineConfig(engineOptions);
  const timeline = new BootTimeline();
  const cleanup = new Cleanup();
  try {
    // Modules of the HTTP side load while the device opens.
    const parts = loadHttpParts();
    const [device, inputs] = await Promise.all([
      timeline
        .stage('device', () => nodeRuntime.openDevice(deviceName, config))
        .then(opened => cleanup.with(opened, d => d.dispose())),
      openModelInputs(config, config.model, nodeRuntime, resource => cleanup.with(resource, r => r.close())),
    ]);
    const reopenDevice = async () => cleanup.with(await nodeRuntime.openDevice(deviceName, config), d => d.dispose());
    const observer: { target?: EngineObserver } = {};
    const engine = await timeline.stage('model', () => load({ ...inputs, device, reopenDevice }, config, observer));
    const { asyncLLM, tokenizer } = cleanup.with(engine, e => e.asyncLLM.dispose());
    if (tokenizer === null) {
      throw new ConfigError(
        'The server answers with text and needs a tokenizer: name a folder that has one.',
        'tokenizer',
      );
    }
    const { pino, Metrics, HttpServer } = await parts;
    const modelNames = config.servedModelName;
    const metrics = new Metrics(asyncLLM, modelNames[0]!);
    observer.target = metrics;
    const log = givenLog ?? pino({ level: 'silent' });
    const app = createApp(
      { engine: asyncLLM, tokenizer, metrics, log },
      {
        modelNames,
        strict,
        enableSleepMode,
        maxNumQueuedReqs: config.maxNumQueuedReqs ?? undefined,
        maxBodyBytes,
        maxBufferedBytes,
        slowClientMs,
      },
    );
    if (!config.disableLogStats) cleanup.with(new StatsLogger(asyncLLM, log), async logger => logger.stop());
    const server = new HttpServer(app, { host, port, apiKeys });
    const boundPort = await server.listen();
    const close = async (graceMs = 30_000) => {
      await server.close(graceMs);
      await cleanup.run();
    };
    return { host, port: boundPort, modelNames, device: device.info, engine, bootTimeline: timeline.describe(), close };
  } catch (error) {
    await cleanup.run();
    throw error;
  }
}

async function loadHttpParts() {
  const [{ pino }, { Metrics }, { HttpServer }] = await Promise.all([
    import('pino'),
    import('../metrics/metrics.ts'),
    import('./http-server.ts'),
  ]);
  return { pino, Metrics, HttpServer };
}

function load(
  inputs: Pick<LoadEngineOptions, 'device' | 'reopenDevice'> & ModelInputs,
  config: ReturnType<typeof parseEngineConfig>,
  observer: { target?: EngineObserver },
): Promise<LoadedEngine> {
  const forward: EngineObserver = {
    onStep: report => observer.target?.onStep?.(report),
    onRequestFinished: request => observer.target?.onRequestFinished?.(request),
  };
  // Admission bounds the requests, and counts them before their bodies are read.
  return loadEngine({ ...inputs, config: { ...config, maxNumQueuedReqs: null }, observer: forward });
}

/** Closes what was opened, last first. */
class Cleanup {
  readonly #steps: (() => Promise<void>)[] = [];

  with<T>(resource: T, close: (resource: T) => Promise<void>): T {
    this.#steps.push(() => close(resource));
    return resource;
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step();
  }
}
