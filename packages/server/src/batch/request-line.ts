import { z } from 'zod';
import type { LineError } from './batch-error.ts';
import { type Line, MAX_LINE_BYTES } from './read-lines.ts';

/** One request of a batch, as OpenAI's Batch API writes it. */
export interface BatchRequest {
  readonly customId: string;
  /** A path of the server, such as `/v1/chat/completions`. */
  readonly url: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** 1-based, in the input file. */
  readonly line: number;
}

/** A line that is no request. It keeps its custom_id where it has one. */
export interface BadLine {
  readonly customId: string | null;
  readonly line: number;
  readonly error: LineError;
}

const schema = z.object({
  custom_id: z.string().min(1).max(512),
  method: z.literal('POST'),
  url: z
    .string()
    .regex(
      /^\/v1\/(?!files\b|batches\b)[\w/-]+$/,
      'must be a path that answers requests, such as /v1/chat/completions',
    ),
  body: z.record(z.string(), z.unknown()),
});

/** Reads a line. `endpoint`: the one url that the lines of this batch may have. */
export function parseRequestLine(line: Line, endpoint: string | null = null): BatchRequest | BadLine {
  const { number } = line;
  if (line.bytes === null) return bad(number, 'line_too_long', `is longer than ${MAX_LINE_BYTES} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line.bytes));
  } catch (error) {
    return bad(number, 'invalid_json_line', `is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  const customId = givenCustomId(value);
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const param = issue?.path.join('.') || null;
    const where = param === null ? '' : `${param}: `;
    return bad(number, 'invalid_request_line', `is no batch request: ${where}${issue?.message}`, customId, param);
  }
  const { custom_id, url, body } = parsed.data;
  if (endpoint !== null && url !== endpoint) {
    return bad(number, 'mismatched_url', `has the url ${url}, but the batch is for ${endpoint}`, customId, 'url');
  }
  if (body.stream === true) {
    return bad(number, 'invalid_request_line', 'asks for a stream, which a batch cannot hold', customId, 'body.stream');
  }
  return { customId: custom_id, url, body, line: number };
}

export function isBad(request: BatchRequest | BadLine): request is BadLine {
  return 'error' in request;
}

function bad(
  line: number,
  code: string,
  what: string,
  customId: string | null = null,
  param: string | null = null,
): BadLine {
  return { customId, line, error: { code, message: `Line ${line} ${what}.`, param, line } };
}

function givenCustomId(value: unknown): string | null {
  const id = (value as { custom_id?: unknown } | null)?.custom_id;
  return typeof id === 'string' && id.length <= 512 ? id : null;
}
