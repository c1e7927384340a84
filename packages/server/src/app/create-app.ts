import type { Tokenizer } from '@quire/core';
import type { Logger } from 'pino';
import type { Metrics } from '../metrics/metrics.ts';
import { Admission } from './admission.ts';
import type { AppContext, ServingEngine } from './context.ts';

/** What an operator may set of the HTTP side. */
export interface AppOptions {
  modelNames: readonly string[];
  /** Refuse fields that would be ignored. Default false. */
  strict?: boolean | undefined;
  /** Sequences that may wait before requests are refused with 429. Default 256. */
  maxNumQueuedReqs?: number | undefined;
  /** Default 8 MiB. */
  maxBodyBytes?: number | undefined;
  /** Bytes of a stream that may wait for a slow client before its chunks are merged. Default 64 KiB. */
  maxBufferedBytes?: number | undefined;
  /** How long a client may stay that slow before its request is aborted. Default 30 s. */
  slowClientMs?: number | undefined;
}

/** The shared state of the handlers of one server. */
export function createApp(
  parts: { engine: ServingEngine; tokenizer: Tokenizer; metrics: Metrics; log: Logger },
  options: AppOptions,
): AppContext {
  return {
    ...parts,
    modelNames: options.modelNames,
    created: Math.floor(Date.now() / 1000),
    strict: options.strict ?? false,
    maxBodyBytes: options.maxBodyBytes ?? 8 * 2 ** 20,
    streamLimits: {
      maxBufferedBytes: options.maxBufferedBytes ?? 64 * 2 ** 10,
      slowClientMs: options.slowClientMs ?? 30_000,
    },
    admission: new Admission(options.maxNumQueuedReqs ?? 256, () => parts.engine.stats().numRequestsRunning),
  };
}
