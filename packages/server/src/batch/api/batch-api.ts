import { join } from 'node:path';
import type { App } from '../../app/app.ts';
import { handleBatches } from './batch-routes.ts';
import { BatchRunner } from './batch-runner.ts';
import { BatchStore } from './batch-store.ts';
import { LocalExecutor } from './executor.ts';
import { handleFiles } from './file-routes.ts';
import { FileStore } from './file-store.ts';

/** OpenAI's bound of an input file is 200 MB. */
const MAX_FILE_BYTES = 512 * 2 ** 20;
const SWEEP_MS = 60_000;

export interface BatchApiOptions {
  /** Where files and batches are kept, for this server alone. */
  folder: string;
  /** Whether the engine schedules by priority. */
  byPriority: boolean;
}

/** /v1/files and /v1/batches of a server. Nothing outside its folder is read or written. */
export class BatchApi {
  readonly #runner: BatchRunner;
  readonly #sweep: NodeJS.Timeout;

  private constructor(runner: BatchRunner, files: FileStore) {
    this.#runner = runner;
    this.#sweep = setInterval(() => void files.removeExpired(), SWEEP_MS).unref();
  }

  /** Adds the routes to the app and takes up the batches that an earlier server left. */
  static async open(app: App, { folder, byPriority }: BatchApiOptions): Promise<BatchApi> {
    const files = await FileStore.open(join(folder, 'files'));
    const batches = await BatchStore.open(join(folder, 'batches'));
    const { engine, log } = app.context;
    const executor = new LocalExecutor({ fetch: request => app.fetch(request), engine, byPriority });
    const runner = new BatchRunner(batches, files, executor, log);
    const endpoints = app.routes.paths;
    handleFiles(app.routes, files, MAX_FILE_BYTES);
    handleBatches(app.routes, { batches, files, runner, endpoints, ...app.context });
    runner.resume();
    return new BatchApi(runner, files);
  }

  /** Stops running batches; they go on with the next server. */
  async close(): Promise<void> {
    clearInterval(this.#sweep);
    await this.#runner.close();
  }
}
