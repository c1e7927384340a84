import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { HttpError } from '../../http/errors.ts';
import { type Batch, type BatchRecord, type BatchStatus, isOver } from './batch.ts';
import { removeOutputs } from './batch-outputs.ts';
import { newId, unixTime } from './ids.ts';
import { readJsonFiles, writeJsonFile } from './json-file.ts';

export interface NewBatch {
  endpoint: string;
  inputFileId: string;
  completionWindow: string;
  /** Seconds. */
  windowSeconds: number;
  metadata: Record<string, string> | null;
}

/** Batches in a folder, one file each, written at every change of status. */
export class BatchStore {
  readonly folder: string;
  readonly #records: Map<string, BatchRecord>;

  private constructor(folder: string, records: readonly BatchRecord[]) {
    this.folder = folder;
    const sorted = [...records].sort((a, b) => a.batch.created_at - b.batch.created_at);
    this.#records = new Map(sorted.map(record => [record.batch.id, record]));
  }

  /** Removes what an earlier server left of batches that are over. */
  static async open(folder: string): Promise<BatchStore> {
    await mkdir(folder, { recursive: true });
    const records = await readJsonFiles<BatchRecord>(folder);
    for (const { batch } of records) if (isOver(batch)) await removeOutputs(folder, batch);
    return new BatchStore(folder, records);
  }

  async create(given: NewBatch): Promise<BatchRecord> {
    const created = unixTime();
    const never = { in_progress_at: null, finalizing_at: null, completed_at: null, failed_at: null };
    const batch: Batch = {
      id: newId('batch_'),
      object: 'batch',
      endpoint: given.endpoint,
      errors: null,
      input_file_id: given.inputFileId,
      completion_window: given.completionWindow,
      status: 'validating',
      output_file_id: null,
      error_file_id: null,
      created_at: created,
      expires_at: created + given.windowSeconds,
      ...never,
      expired_at: null,
      cancelling_at: null,
      cancelled_at: null,
      request_counts: { total: 0, completed: 0, failed: 0 },
      metadata: given.metadata,
    };
    const record = { batch, outputId: newId('file-'), errorId: newId('file-') };
    await this.save(record);
    this.#records.set(batch.id, record);
    return record;
  }

  /** Sets the status and the time that belongs to it. */
  async enter({ batch }: BatchRecord, status: Exclude<BatchStatus, 'validating'>): Promise<void> {
    batch.status = status;
    batch[`${status}_at`] = unixTime();
    await this.save(this.#records.get(batch.id)!);
  }

  async save(record: BatchRecord): Promise<void> {
    await writeJsonFile(join(this.folder, `${record.batch.id}.json`), record);
  }

  /** Oldest first. */
  all(): BatchRecord[] {
    return [...this.#records.values()];
  }

  /** Throws HttpError 404. */
  get(id: string): BatchRecord {
    const record = this.#records.get(id);
    if (record !== undefined) return record;
    throw new HttpError(404, `There is no batch ${JSON.stringify(id.slice(0, 64))}.`, {
      param: 'batch_id',
      code: 'not_found',
    });
  }
}
