import * as z from 'zod/mini';
import type { AppRequest } from '../http/request.ts';
import { flag, integer } from './fields.ts';

/** Fields of chat and completions that shape the answer, not the tokens. */
export const answerFields = {
  /** The answer's id is made of it. */
  request_id: z.nullish(z.string().check(z.minLength(1), z.maxLength(128))),
  /** Tokens of a stream that a chunk has at least, but for the first and the last. */
  stream_interval: integer(1),
  /** Tokens in log-probabilities are shown as `token_id:17`. */
  return_tokens_as_token_ids: flag,
};

/** The id of an answer: with the client's name of the request, if it has one. */
export function answerId(
  prefix: string,
  given: AppRequest,
  request: { request_id?: string | null | undefined },
): string {
  return `${prefix}-${request.request_id ?? given.label ?? given.requestId}`;
}
