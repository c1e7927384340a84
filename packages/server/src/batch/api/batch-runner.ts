import type { AppLog } from '../../app/context.ts';
import { HttpError } from '../../http/errors.ts';
import type { LineError } from '../batch-error.ts';
import type { BatchOutcome } from '../output-line.ts';
import type { BatchRequest } from '../request-line.ts';
import { runAll } from '../run-all.ts';
import { type Batch, type BatchRecord, isOver } from './batch.ts';
import { checkInput } from './batch-input.ts';
import { BatchOutputs, removeOutputs } from './batch-outputs.ts';
import type { BatchStore } from './batch-store.ts';
import type { FileStore, NewFile } from './file-store.ts';
import { unixTime } from './ids.ts';

/** Answers requests of batches. */
export interface BatchExecutor {
  /** Requests that it takes at a time. */
  readonly concurrency: number;
  /** Rejects when the signal aborts. */
  execute(batchId: string, request: BatchRequest, signal: AbortSignal): Promise<BatchOutcome>;
}

type Ending = 'completed' | 'expired' | 'cancelled';

/**
 * Runs batches one after another, in the order in which they came. What is answered is on disk, so a batch that a server left
 * goes on in the next one.
 */
export class BatchRunner {
  readonly #batches: BatchStore;
  readonly #files: FileStore;
  readonly #executor: BatchExecutor;
  readonly #log: AppLog;
  readonly #closing = new AbortController();
  readonly #cancels = new Map<string, AbortController>();
  /** Batches run in turn: each waits for the one before it. */
  #last: Promise<void> = Promise.resolve();

  constructor(batches: BatchStore, files: FileStore, executor: BatchExecutor, log: AppLog) {
    this.#batches = batches;
    this.#files = files;
    this.#executor = executor;
    this.#log = log;
  }

  /** Takes up what an earlier server left. */
  resume(): void {
    for (const record of this.#batches.all()) if (!isOver(record.batch)) this.add(record);
  }

  add(record: BatchRecord): void {
    const cancel = new AbortController();
    this.#cancels.set(record.batch.id, cancel);
    if (record.batch.status === 'cancelling') cancel.abort();
    const before = this.#last;
    const checked = this.#guard(record, () => this.#check(record));
    this.#last = checked.then(() => before).then(() => this.#guard(record, () => this.#run(record, cancel.signal)));
  }

  /** Requests in progress are given up; what is answered stays. */
  async cancel(record: BatchRecord): Promise<void> {
    await this.#batches.enter(record, 'cancelling');
    this.#cancels.get(record.batch.id)?.abort();
  }

  /** Stops. Batches stay as they are, for the next server. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#last;
  }

  /** A batch that cannot be run fails; those behind it go on. */
  async #guard(record: BatchRecord, work: () => Promise<void>): Promise<void> {
    if (this.#closing.signal.aborted || isOver(record.batch)) return;
    try {
      await work();
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#log.error({ batchId: record.batch.id, err: error }, 'batch failed');
      const message =
        error instanceof HttpError ? error.message : 'The server could not run the batch. Its log has the reason.';
      await this.#fail(record, [{ code: 'internal_error', message, param: null, line: null }]);
    }
  }

  async #fail(record: BatchRecord, data: LineError[]): Promise<void> {
    record.batch.errors = { object: 'list', data };
    await this.#batches.enter(record, 'failed');
  }

  async #check(record: BatchRecord): Promise<void> {
    const { batch } = record;
    if (batch.status !== 'validating') return;
    const { total, errors } = await checkInput(this.#inputOf(batch), batch.endpoint);
    batch.request_counts.total = total;
    if (batch.status !== 'validating') return;
    if (errors.length > 0) return this.#fail(record, errors);
    await this.#batches.enter(record, 'in_progress');
  }

  async #run(record: BatchRecord, cancelled: AbortSignal): Promise<void> {
    const { batch } = record;
    const expired = AbortSignal.timeout(Math.min(2 ** 31 - 1, Math.max(0, 1000 * (batch.expires_at - unixTime()))));
    const signal = AbortSignal.any([cancelled, expired, this.#closing.signal]);
    const outputs = await BatchOutputs.open(this.#batches.folder, batch);
    try {
      await this.#answerAll(batch, outputs, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    if (this.#closing.signal.aborted) return outputs.close();
    const ending = cancelled.aborted ? 'cancelled' : signal.aborted ? 'expired' : 'completed';
    if (ending === 'expired') await this.#tellExpired(batch, outputs);
    await outputs.close();
    await this.#finish(record, outputs, ending);
  }

  async #answerAll(batch: Batch, outputs: BatchOutputs, signal: AbortSignal): Promise<void> {
    const requests = outputs.unanswered(this.#inputOf(batch));
    await runAll(requests, this.#executor.concurrency, async request => {
      signal.throwIfAborted();
      await outputs.add(await this.#executor.execute(batch.id, request, signal));
    });
  }

  async #tellExpired(batch: Batch, outputs: BatchOutputs): Promise<void> {
    for await (const { customId, line } of outputs.unanswered(this.#inputOf(batch))) {
      const message = 'This request was not executed before the completion window of the batch ended.';
      await outputs.add({ customId, response: null, error: { code: 'batch_expired', message, param: null, line } });
    }
  }

  /** The outputs become files of the API. */
  async #finish(record: BatchRecord, outputs: BatchOutputs, ending: Ending): Promise<void> {
    const { batch } = record;
    if (ending === 'completed') await this.#batches.enter(record, 'finalizing');
    const { completed, failed } = batch.request_counts;
    const adopt = async (id: string, kind: string, path: string) => {
      const file: NewFile = { id, filename: `${batch.id}_${kind}.jsonl`, purpose: 'batch_output', expiresAfter: null };
      return (await this.#files.adopt(file, path)).id;
    };
    batch.output_file_id = completed === 0 ? null : await adopt(record.outputId, 'output', outputs.output.path);
    batch.error_file_id = failed === 0 ? null : await adopt(record.errorId, 'error', outputs.errors.path);
    await this.#batches.enter(record, ending);
    this.#cancels.delete(batch.id);
    await removeOutputs(this.#batches.folder, batch);
  }

  #inputOf(batch: Batch): string {
    return this.#files.pathOf(this.#files.get(batch.input_file_id).id);
  }
}
