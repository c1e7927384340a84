import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { OutputFile } from '../output-file.ts';
import { type BatchOutcome, hasFailed, outputLine } from '../output-line.ts';
import { isBlank, readLines } from '../read-lines.ts';
import { type BatchRequest, isBad, parseRequestLine } from '../request-line.ts';
import type { Batch } from './batch.ts';

/** The answers of one batch while it runs: those that succeeded, and the others. Counts them in the batch. */
export class BatchOutputs {
  readonly output: OutputFile;
  readonly errors: OutputFile;
  readonly #batch: Batch;

  private constructor(output: OutputFile, errors: OutputFile, batch: Batch) {
    this.output = output;
    this.errors = errors;
    this.#batch = batch;
    batch.request_counts.completed = output.answered.size;
    batch.request_counts.failed = errors.answered.size;
  }

  static async open(folder: string, batch: Batch): Promise<BatchOutputs> {
    const [output, errors] = outputPaths(folder, batch);
    return new BatchOutputs(await OutputFile.open(output), await OutputFile.open(errors), batch);
  }

  /** Requests of the input that have no answer yet. */
  async *unanswered(path: string): AsyncGenerator<BatchRequest> {
    for await (const line of readLines(path)) {
      if (isBlank(line)) continue;
      const request = parseRequestLine(line, this.#batch.endpoint);
      if (!isBad(request) && !this.#has(request)) yield request;
    }
  }

  async add(outcome: BatchOutcome): Promise<void> {
    const failed = hasFailed(outcome);
    const file = failed ? this.errors : this.output;
    await file.append(outputLine(outcome));
    if (outcome.customId !== null) file.answered.note(outcome.customId);
    this.#batch.request_counts[failed ? 'failed' : 'completed']++;
  }

  async close(): Promise<void> {
    await this.output.close();
    await this.errors.close();
  }

  #has({ customId, line }: BatchRequest): boolean {
    return this.output.answered.has(customId, line) || this.errors.answered.has(customId, line);
  }
}

function outputPaths(folder: string, { id }: Batch): [output: string, errors: string] {
  return [join(folder, `${id}.output.jsonl`), join(folder, `${id}.error.jsonl`)];
}

/** When they are files of the API, or of no more use. */
export async function removeOutputs(folder: string, batch: Batch): Promise<void> {
  for (const path of outputPaths(folder, batch)) await rm(path, { force: true });
}
