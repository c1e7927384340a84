import type { HttpError } from '../http/errors.ts';

const types: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
};

/** The body of an answer that is not a success, in Anthropic's shape. `param` and `code` are ours. */
export function anthropicError({ status, message, param, code }: HttpError): string {
  const type = types[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error');
  return JSON.stringify({ type: 'error', error: { type, message, param, code } });
}
