import { type ChatFeatureOptions, chatFeatures } from '../openai/chat-features.ts';
import { version } from '../version.ts';
import { type AdapterFolders, Adapters } from './adapters.ts';
import { Admission } from './admission.ts';
import { App } from './app.ts';
import {
  type AppContext,
  type AppLog,
  type Exposition,
  type ServingEngine,
  type ServingTokenizer,
  silentLog,
} from './context.ts';

/** What an operator may set of the HTTP side. */
export interface AppOptions extends ChatFeatureOptions {
  modelNames: readonly string[];
  /** Refuse fields that would be ignored. Default false. */
  strict?: boolean | undefined;
  /** Let requests put the engine to sleep and wake it. Default false. */
  enableSleepMode?: boolean | undefined;
  /** Where requests may load adapters from. Default: nowhere. */
  adapterFolders?: AdapterFolders | undefined;
  /** Sequences that may wait before requests are refused with 429. Default 256. */
  maxNumQueuedReqs?: number | undefined;
  /** Default 8 MiB. */
  maxBodyBytes?: number | undefined;
  /** Bytes of a stream that may wait for a slow client before its chunks are merged. Default 64 KiB. */
  maxBufferedBytes?: number | undefined;
  /** How long a client may stay that slow before its request is aborted. Default 30 s. */
  slowClientMs?: number | undefined;
}

export interface AppParts {
  engine: ServingEngine;
  tokenizer: ServingTokenizer;
  /** Default: there is no /metrics. */
  metrics?: Exposition | undefined;
  /** Default: silent. */
  log?: AppLog | undefined;
}

/** The OpenAI surface over an engine, without sockets: see App. Throws ConfigError for options that cannot be. */
export function createApp(parts: AppParts, options: AppOptions): App {
  const { engine, tokenizer, metrics = null, log = silentLog } = parts;
  const context: Omit<AppContext, 'ready'> = {
    engine,
    tokenizer,
    metrics,
    log,
    modelNames: options.modelNames,
    adapters: new Adapters(engine, options.modelNames, options.adapterFolders ?? null),
    features: chatFeatures(options, tokenizer.chatTemplate),
    created: Math.floor(Date.now() / 1000),
    fingerprint: fingerprintOf(version, options.modelNames, engine.limits),
    strict: options.strict ?? false,
    enableSleepMode: options.enableSleepMode ?? false,
    maxBodyBytes: options.maxBodyBytes ?? 8 * 2 ** 20,
    streamLimits: {
      maxBufferedBytes: options.maxBufferedBytes ?? 64 * 2 ** 10,
      slowClientMs: options.slowClientMs ?? 30_000,
    },
    admission: new Admission(options.maxNumQueuedReqs ?? 256, engine),
  };
  return new App(context);
}

/** FNV-1a of the values as JSON. */
function fingerprintOf(...values: unknown[]): string {
  let hash = 0x811c9dc5;
  for (const character of JSON.stringify(values)) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
  return `fp_${(hash >>> 0).toString(16).padStart(8, '0')}`;
}
