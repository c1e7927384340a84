import { ConfigError } from '@quire/core';
import type { Job, Queue, QueueEvents, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { AppLog } from '../../app/context.ts';
import type { BatchOutcome } from '../output-line.ts';
import type { BatchRequest } from '../request-line.ts';
import type { BatchExecutor } from './batch-runner.ts';

const NAME = 'quire-batch';
/** Requests of one batch in the queue at a time: enough for the workers of several servers. */
const IN_QUEUE = 1024;
/** A worker that does not renew its lock for this long is gone, and its requests are another's. */
const LOCK_MS = 15_000;
const STALLED_CHECK_MS = 5_000;
/** Servers that may go away over one request before it fails. */
const MAX_STALLS = 3;

/**
 * Requests of batches in a queue on Redis (BullMQ), from which every server with the same queue takes some. A request has one place in
 * the queue, by its batch and line, so a server that comes back finds what the others did meanwhile.
 */
export class RedisQueue implements BatchExecutor {
  readonly concurrency = IN_QUEUE;
  readonly #queue: Queue;
  readonly #events: QueueEvents;
  readonly #worker: Worker;
  readonly #clients: readonly Redis[];
  readonly #stop: AbortController;

  private constructor(parts: {
    queue: Queue;
    events: QueueEvents;
    worker: Worker;
    clients: Redis[];
    stop: AbortController;
  }) {
    this.#queue = parts.queue;
    this.#events = parts.events;
    this.#worker = parts.worker;
    this.#clients = parts.clients;
    this.#stop = parts.stop;
  }

  /** Begins to work on requests of the queue with `local`. Throws ConfigError when the packages are not there, or Redis is not. */
  static async open(url: string, local: BatchExecutor, log: AppLog): Promise<RedisQueue> {
    const { bullmq, ioredis } = await loadPackages();
    await checkConnection(ioredis.Redis, url);
    const clients: Redis[] = [];
    const connect = () => {
      // BullMQ waits for a Redis that is away, rather than to fail what it was asked.
      const client = new ioredis.Redis(url, { maxRetriesPerRequest: null });
      client.on('error', error => log.error({ err: error }, 'the queue of batches is not reachable'));
      clients.push(client);
      return client;
    };
    const stop = new AbortController();
    const answer = async (job: Job<BatchRequest>, token?: string) => {
      try {
        return await local.execute(String(job.id), job.data, stop.signal);
      } catch (error) {
        if (!stop.signal.aborted) throw error;
        await job.moveToDelayed(Date.now(), token);
        throw new bullmq.DelayedError();
      }
    };
    const locks = { lockDuration: LOCK_MS, stalledInterval: STALLED_CHECK_MS, maxStalledCount: MAX_STALLS };
    const worker = new bullmq.Worker(NAME, answer, { connection: connect(), concurrency: local.concurrency, ...locks });
    worker.on('error', error => log.error({ err: error }, 'the worker of batches failed'));
    const queue = new bullmq.Queue(NAME, { connection: connect() });
    const events = new bullmq.QueueEvents(NAME, { connection: connect() });
    await Promise.all([queue.waitUntilReady(), events.waitUntilReady(), worker.waitUntilReady()]);
    return new RedisQueue({ queue, events, worker, clients, stop });
  }

  async execute(batchId: string, request: BatchRequest, signal: AbortSignal): Promise<BatchOutcome> {
    signal.throwIfAborted();
    const job: Job<BatchRequest, BatchOutcome> = await this.#queue.add(NAME, request, {
      jobId: `${batchId}-${request.line}`,
    });
    const ended = job.waitUntilFinished(this.#events).catch((error: Error) => failure(request, error));
    const outcome = await Promise.race([ended, aborted(signal)]);
    if (outcome === null) {
      // A place that a worker has is left to it. When this server stops, the others go on.
      if (!this.#stop.signal.aborted) await job.remove().catch(() => {});
      throw signal.reason;
    }
    await job.remove().catch(() => {});
    return outcome;
  }

  /** Requests that this server works on go back to the queue. */
  async close(): Promise<void> {
    this.#stop.abort(new Error('The server is shutting down.'));
    await this.#worker.close();
    await this.#events.close();
    await this.#queue.close();
    for (const client of this.#clients) client.disconnect();
  }
}

function failure({ customId, line }: BatchRequest, { message }: Error): BatchOutcome {
  return { customId, response: null, error: { code: 'batch_request_failed', message, param: null, line } };
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(null), { once: true }));
}

async function loadPackages() {
  try {
    const [bullmq, ioredis] = await Promise.all([import('bullmq'), import('ioredis')]);
    return { bullmq, ioredis };
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new ConfigError(
      `batchQueue needs the packages bullmq and ioredis: npm install bullmq@6.7.0 ioredis@6.0.0. ${reason}`,
      'batchQueue',
    );
  }
}

/** A queue that cannot be reached when the server starts is an error of its options. The address may hold a password: it is not shown. */
async function checkConnection(RedisClient: typeof Redis, url: string): Promise<void> {
  if (!/^rediss?:\/\//.test(url))
    throw new ConfigError('batchQueue must be an address such as redis://host:6379.', 'batchQueue');
  const client = new RedisClient(url, { lazyConnect: true, retryStrategy: () => null, connectTimeout: 5000 });
  const errors: Error[] = [];
  client.on('error', error => errors.push(error));
  try {
    await client.connect();
    await client.ping();
  } catch (error) {
    throw new ConfigError(`batchQueue cannot be reached: ${(errors[0] ?? (error as Error)).message}.`, 'batchQueue');
  } finally {
    client.disconnect();
  }
}
