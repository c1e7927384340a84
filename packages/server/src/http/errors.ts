import { EngineClosedError, EngineError, InvalidRequestError, QueueFullError, toSnakeCase } from '@quire/core';

/** The `type` of an OpenAI error object. */
export type ErrorType = 'invalid_request_error' | 'authentication_error' | 'rate_limit_error' | 'server_error';

export interface HttpErrorDetails {
  type?: ErrorType;
  /** The request field at fault. */
  param?: string | null;
  code?: string | null;
  headers?: Readonly<Record<string, string>>;
  cause?: unknown;
}

/** An answer that is not a success. Its message goes to the client, so it holds no path, stack or address. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly status: number;
  readonly type: ErrorType;
  readonly param: string | null;
  readonly code: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, details: HttpErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.status = status;
    this.type = details.type ?? (status >= 500 ? 'server_error' : 'invalid_request_error');
    this.param = details.param ?? null;
    this.code = details.code ?? null;
    this.headers = details.headers ?? {};
  }
}

/** A 400 that names the field. */
export function invalidField(param: string | null, message: string, code: string | null = null): HttpError {
  return new HttpError(400, message, { param, code });
}

export function clientTooSlow(): HttpError {
  return new HttpError(408, 'The client reads the stream too slowly.', { code: 'client_too_slow' });
}

export function clientGone(): HttpError {
  const message =
    'The client closed the connection. A client that closes its side ends its request: keep it open until the answer has come.';
  return new HttpError(499, message, { code: 'client_gone' });
}

export function shuttingDown(): HttpError {
  return new HttpError(503, 'The server is shutting down.', { code: 'shutting_down', headers: { 'retry-after': '5' } });
}

/** The body of every answer that is not a success, and of the last event of a stream that failed. */
export function errorBody(error: HttpError): string {
  const { message, type, param, code } = error;
  return JSON.stringify({ error: { message, type, param, code } });
}

/** What a client is told of an error that came from below. Only errors made for callers keep their text. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof InvalidRequestError) {
    return new HttpError(400, error.message, {
      param: error.param === null ? null : toSnakeCase(error.param),
      code: error.code,
    });
  }
  if (error instanceof QueueFullError) {
    const headers = { 'retry-after': '1' };
    return new HttpError(429, error.message, { type: 'rate_limit_error', code: error.code, headers, cause: error });
  }
  if (error instanceof EngineClosedError) {
    const headers = { 'retry-after': '5' };
    return new HttpError(503, 'The server is shutting down.', { code: 'shutting_down', headers, cause: error });
  }
  if (error instanceof EngineError) return new HttpError(500, error.message, { code: error.code, cause: error });
  return new HttpError(500, 'The engine failed on this request. The server log has the reason.', {
    code: 'internal_error',
    cause: error,
  });
}
