import * as z from 'zod/mini';
import { invalidField } from '../http/errors.ts';
import { flag } from './fields.ts';

export const streamFields = {
  stream: flag,
  stream_options: z.nullish(z.looseObject({ include_usage: flag, continuous_usage_stats: flag })),
};

interface StreamFields {
  stream?: boolean | null | undefined;
  stream_options?:
    | { include_usage?: boolean | null | undefined; continuous_usage_stats?: boolean | null | undefined }
    | null
    | undefined;
  prompt_logprobs?: number | null | undefined;
  [field: string]: unknown;
}

export interface StreamChoice {
  stream: boolean;
  /** A last chunk holds the usage. */
  includeUsage: boolean;
  /** Every chunk holds the usage so far. */
  continuousUsage: boolean;
}

/** Throws HttpError 400 for stream options without a stream, and for what a stream cannot show. */
export function streamChoice(request: StreamFields): StreamChoice {
  const { stream, stream_options: options } = request;
  if (stream !== true) {
    if (options) throw invalidField('stream_options', 'stream_options is allowed only with stream: true.');
    return { stream: false, includeUsage: false, continuousUsage: false };
  }
  if (typeof request.prompt_logprobs === 'number') {
    throw invalidField('prompt_logprobs', 'prompt_logprobs is not available with stream: true.');
  }
  if (request.use_beam_search === true) {
    throw invalidField('use_beam_search', 'use_beam_search is not available with stream: true.');
  }
  const { n, best_of: bestOf } = request;
  if (bestOf !== undefined && bestOf !== null && bestOf !== (n ?? 1)) {
    throw invalidField(
      'best_of',
      'best_of must equal n with stream: true: which are the best is known only at the end.',
    );
  }
  const includeUsage = options?.include_usage === true;
  return { stream: true, includeUsage, continuousUsage: includeUsage && options?.continuous_usage_stats === true };
}
