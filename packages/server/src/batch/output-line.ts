import { randomUUID } from 'node:crypto';
import type { LineError } from './batch-error.ts';

/** What became of one request: the answer of the server, or why there is none. */
export interface BatchOutcome {
  readonly customId: string | null;
  readonly response: { readonly status: number; readonly requestId: string; readonly body: unknown } | null;
  readonly error: LineError | null;
}

/** One line of an output or error file, in OpenAI's shape; `error` has OpenAI's code and message, and the line of the input. */
export function outputLine({ customId, response, error }: BatchOutcome): string {
  const answer =
    response === null ? null : { status_code: response.status, request_id: response.requestId, body: response.body };
  return JSON.stringify({
    id: `batch_req_${randomUUID().replaceAll('-', '')}`,
    custom_id: customId,
    response: answer,
    error,
  });
}

/** Whether a request failed, and belongs in the error file. */
export function hasFailed({ response, error }: BatchOutcome): boolean {
  return error !== null || response === null || response.status >= 400;
}
