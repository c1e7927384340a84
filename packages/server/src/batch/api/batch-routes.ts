import * as z from 'zod/mini';
import { readJsonBody } from '../../http/body.ts';
import { HttpError, invalidField } from '../../http/errors.ts';
import { jsonReply } from '../../http/reply.ts';
import type { Router } from '../../http/router.ts';
import { parseRequest } from '../../openai/fields.ts';
import { isOver } from './batch.ts';
import type { BatchRunner } from './batch-runner.ts';
import type { BatchStore, NewBatch } from './batch-store.ts';
import type { FileStore } from './file-store.ts';
import { pageOf } from './ids.ts';
import { pageQuery } from './page-query.ts';

export interface BatchRoutesOptions {
  readonly batches: BatchStore;
  readonly files: FileStore;
  readonly runner: BatchRunner;
  /** Paths of the server, of which some can be used. */
  readonly endpoints: readonly string[];
  readonly maxBodyBytes: number;
  readonly strict: boolean;
}

const schema = {
  fields: z.looseObject({
    input_file_id: z.string(),
    endpoint: z.string(),
    completion_window: z.string(),
    metadata: z.nullish(z.record(z.string().check(z.maxLength(64)), z.string().check(z.maxLength(512)))),
  }),
  passed: [],
  unsupported: { output_expires_after: () => false },
};
const MAX_METADATA = 16;
const MAX_WINDOW_SECONDS = 7 * 24 * 3600;

/** /v1/batches as OpenAI has it. */
export function handleBatches(routes: Router, options: BatchRoutesOptions): void {
  const { batches, runner } = options;
  routes
    .add('/v1/batches', {
      GET: ({ query }) => {
        const { after, limit } = pageQuery(query, 100);
        const newest = batches.all().map(record => record.batch);
        return jsonReply(pageOf(newest.reverse(), after, limit));
      },
      POST: async request => {
        const record = await batches.create(readBatch(await readJsonBody(request, options.maxBodyBytes), options));
        runner.add(record);
        return jsonReply(record.batch);
      },
    })
    .add('/v1/batches/*/cancel', {
      POST: async (_, id) => {
        const record = batches.get(id);
        const { status } = record.batch;
        if (isOver(record.batch) || status === 'finalizing') {
          throw new HttpError(409, `The batch is ${status} and cannot be cancelled.`, { code: 'batch_over' });
        }
        await runner.cancel(record);
        return jsonReply(record.batch);
      },
    })
    .add('/v1/batches/*', { GET: (_, id) => jsonReply(batches.get(id).batch) });
}

/** Throws HttpError that names the field. */
function readBatch(body: Record<string, unknown>, options: BatchRoutesOptions): NewBatch {
  const { request } = parseRequest(schema, body, options.strict);
  const { endpoint, input_file_id: inputFileId, completion_window: completionWindow, metadata = null } = request;
  const usable = options.endpoints.filter(path => /^\/v1\/[\w/]+$/.test(path) && path !== '/v1/models');
  if (!usable.includes(endpoint)) {
    throw invalidField('endpoint', `endpoint must be one of ${usable.join(', ')}.`, 'invalid_value');
  }
  if (options.files.get(inputFileId).purpose !== 'batch') {
    throw invalidField('input_file_id', 'input_file_id must be a file with the purpose batch.', 'invalid_value');
  }
  if (metadata !== null && Object.keys(metadata).length > MAX_METADATA) {
    throw invalidField('metadata', `metadata must have at most ${MAX_METADATA} entries.`, 'invalid_value');
  }
  return { endpoint, inputFileId, completionWindow, windowSeconds: secondsOf(completionWindow), metadata };
}

/** OpenAI knows 24h alone. */
function secondsOf(window: string): number {
  const [, count = '', unit = ''] = /^(\d{1,6})([smh])$/.exec(window) ?? [];
  const seconds = Number(count) * ({ s: 1, m: 60, h: 3600 }[unit] ?? Number.NaN);
  if (seconds >= 1 && seconds <= MAX_WINDOW_SECONDS) return seconds;
  const message = 'completion_window must be a time such as 24h: a number of s, m or h, at most 168h.';
  throw invalidField('completion_window', message, 'invalid_value');
}
