import { join } from 'node:path';
import type { App } from '../../app/app.ts';
import type { AppLog } from '../../app/context.ts';
import { handleBatches } from './batch-routes.ts';
import { BatchRunner } from './batch-runner.ts';
import { BatchStore } from './batch-store.ts';
import { LocalExecutor } from './executor.ts';
import { handleFiles } from './file-routes.ts';
import { FileStore } from './file-store.ts';
import type { RedisQueue } from './redis-queue.ts';

/** OpenAI's bound of an input file is 200 MB. */
const MAX_FILE_BYTES = 512 * 2 ** 20;
const SWEEP_MS = 60_000;

export interface BatchApiOptions {
  /** Where files and batches are kept, for this server alone. Without it, this server only works on what others put into the queue. */
  folder?: string | undefined;
  /** Address of a Redis whose queue the requests of batches go through. Default: this server answers its own. */
  queue?: string | undefined;
  /** Whether the engine schedules by priority. */
  byPriority: boolean;
}

/** /v1/files and /v1/batches of a server, and what it does for batches of others. Nothing outside its folder is read or written. */
export class BatchApi {
  readonly #runner: BatchRunner | null;
  readonly #queue: RedisQueue | null;
  readonly #sweep: NodeJS.Timeout | null;

  private constructor(runner: BatchRunner | null, queue: RedisQueue | null, files: FileStore | null) {
    this.#runner = runner;
    this.#queue = queue;
    this.#sweep = files && setInterval(() => void files.removeExpired(), SWEEP_MS).unref();
  }

  /** Adds the routes to the app and takes up the batches that an earlier server left. Throws ConfigError for a queue that is not there. */
  static async open(app: App, { folder, queue: queueUrl, byPriority }: BatchApiOptions): Promise<BatchApi> {
    const { engine, log } = app.context;
    const local = new LocalExecutor({ fetch: request => app.fetch(request), engine, byPriority });
    const queue = queueUrl === undefined ? null : await openQueue(queueUrl, local, log);
    if (folder === undefined) return new BatchApi(null, queue, null);
    const files = await FileStore.open(join(folder, 'files'));
    const batches = await BatchStore.open(join(folder, 'batches'));
    const runner = new BatchRunner(batches, files, queue ?? local, log);
    const endpoints = app.routes.paths;
    handleFiles(app.routes, files, MAX_FILE_BYTES);
    handleBatches(app.routes, { batches, files, runner, endpoints, ...app.context });
    runner.resume();
    return new BatchApi(runner, queue, files);
  }

  /** Stops running batches; they go on with the next server. */
  async close(): Promise<void> {
    if (this.#sweep !== null) clearInterval(this.#sweep);
    await Promise.all([this.#queue?.close(), this.#runner?.close()]);
  }
}

/** BullMQ is loaded where it is used. */
async function openQueue(url: string, local: LocalExecutor, log: AppLog): Promise<RedisQueue> {
  const { RedisQueue } = await import('./redis-queue.ts');
  return RedisQueue.open(url, local, log);
}
