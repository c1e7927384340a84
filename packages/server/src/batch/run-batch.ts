import { BatchError } from './batch-error.ts';
import { dispatch, type Fetch } from './dispatch.ts';
import { IdTable } from './id-table.ts';
import { OutputFile } from './output-file.ts';
import { type BatchOutcome, hasFailed, outputLine } from './output-line.ts';
import { isBlank, readLines } from './read-lines.ts';
import { type BadLine, type BatchRequest, isBad, parseRequestLine } from './request-line.ts';
import { runAll } from './run-all.ts';
import { isMine, type Shard, shardPath } from './shard.ts';

export interface RunBatchOptions {
  readonly input: string;
  readonly output: string;
  readonly shard: Shard | null;
  /** Requests in progress at a time. */
  readonly concurrency: number;
  readonly fetch: Fetch;
  /** Told after every request. */
  readonly onProgress?: (counts: BatchCounts) => void;
}

export interface BatchCounts {
  /** Requests of this shard. */
  total: number;
  /** Answered by an earlier run. */
  skipped: number;
  completed: number;
  failed: number;
  /** Tokens of the answers of this run. */
  completionTokens: number;
}

/**
 * Answers the requests of a batch file, in whatever order they end. What the output file answers already is left out, so that a
 * batch that was stopped goes on. Throws BatchError when a file cannot be used or a custom_id stands on two lines, before the
 * first request is sent.
 */
export async function runBatch(options: RunBatchOptions): Promise<BatchCounts> {
  const { input, shard } = options;
  const total = await checkInput(input, shard);
  const output = await OutputFile.open(shardPath(options.output, shard));
  const counts: BatchCounts = { total, skipped: 0, completed: 0, failed: 0, completionTokens: 0 };
  try {
    options.onProgress?.(counts);
    await runAll(requestsOf(input, shard), options.concurrency, async request => {
      if (output.answered.has(request.customId, request.line)) counts.skipped++;
      else await answer(request, options.fetch, output, counts);
      options.onProgress?.(counts);
    });
    return counts;
  } finally {
    await output.close();
  }
}

async function* requestsOf(path: string, shard: Shard | null): AsyncGenerator<BatchRequest | BadLine> {
  for await (const line of readLines(path)) {
    if (isMine(shard, line.number) && !isBlank(line)) yield parseRequestLine(line);
  }
}

/** Reads all lines of all shards for custom_ids that are there twice. Returns the number of lines of this shard. */
async function checkInput(path: string, shard: Shard | null): Promise<number> {
  const ids = new IdTable();
  let total = 0;
  for await (const line of readLines(path)) {
    if (isBlank(line)) continue;
    if (isMine(shard, line.number)) total++;
    const { customId } = parseRequestLine(line);
    const before = customId === null ? null : ids.add(customId, line.number);
    if (before !== null) {
      const message = `${path}: lines ${before} and ${line.number} have the same custom_id ${JSON.stringify(customId)}. Give each a different one.`;
      throw new BatchError('duplicate_custom_id', message);
    }
  }
  return total;
}

async function answer(
  request: BatchRequest | BadLine,
  fetch: Fetch,
  output: OutputFile,
  counts: BatchCounts,
): Promise<void> {
  const outcome = isBad(request) ? { ...request, response: null } : await dispatch(request, { fetch });
  await output.append(outputLine(outcome));
  if (hasFailed(outcome)) counts.failed++;
  else counts.completed++;
  counts.completionTokens += completionTokens(outcome);
}

function completionTokens({ response }: BatchOutcome): number {
  const usage = (response?.body as { usage?: { completion_tokens?: unknown } } | null)?.usage;
  return typeof usage?.completion_tokens === 'number' ? usage.completion_tokens : 0;
}
