import { ConfigError } from '../errors.ts';
import { suggestion, toCamelCase } from '../names.ts';
import { boolean, type Check, integer, oneOf, orNull, refuse, text } from './arg-checks.ts';

/** Where it is told what the prefix cache holds, for routers that send prompts where their beginning is cached. */
export interface KvEventsConfig {
  readonly enableKvCacheEvents: boolean;
  readonly publisher: 'zmq' | 'null';
  /** ZeroMQ address to bind for subscribers. */
  readonly endpoint: string;
  /** Address to bind for those that ask for batches again; null: nowhere. */
  readonly replayEndpoint: string | null;
  /** Batches kept for them. */
  readonly bufferSteps: number;
  /** Messages that may wait for a slow subscriber before further ones are dropped for it. */
  readonly hwm: number;
  readonly topic: string;
}

const fields = {
  enableKvCacheEvents: boolean,
  publisher: oneOf({ zmq: 'zmq', null: 'null' }),
  endpoint: text,
  replayEndpoint: orNull(text),
  bufferSteps: integer(0, 10_000_000),
  hwm: integer(0, 10_000_000),
  topic: text,
} as const satisfies { [K in keyof KvEventsConfig]: Check<KvEventsConfig[K]> };

/** vLLM's defaults. */
const defaults: KvEventsConfig = {
  enableKvCacheEvents: false,
  publisher: 'zmq',
  endpoint: 'tcp://*:5557',
  replayEndpoint: null,
  bufferSteps: 10_000,
  hwm: 100_000,
  topic: '',
};

/** vLLM's object, in either spelling. `max_queue_size` is taken and has no effect: there is no queue before the socket's. */
export function kvEventsConfig(value: unknown, option: string): KvEventsConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refuse(option, 'an object such as {"enable_kv_cache_events": true, "topic": "kv@pod@model"}', value);
  }
  const config: Record<string, unknown> = { ...defaults };
  for (const [given, field] of Object.entries(value)) {
    const name = toCamelCase(given);
    if (name === 'maxQueueSize') continue;
    if (!Object.hasOwn(fields, name)) {
      throw new ConfigError(
        `${option} has an unknown field "${given}".${suggestion(given, Object.keys(fields))}`,
        option,
      );
    }
    try {
      config[name] = fields[name as keyof KvEventsConfig](field, name);
    } catch (error) {
      throw new ConfigError(`${option}: ${(error as Error).message}`, option);
    }
  }
  return config as unknown as KvEventsConfig;
}
