import { errorBody, type HttpError } from './errors.ts';
import type { EventStream } from './event-stream.ts';

export type ReplyHeaders = Readonly<Record<string, string>>;

/** The answer to a request, before anything of it is sent. Names of headers are in lower case. */
export interface Reply {
  readonly status: number;
  readonly headers: ReplyHeaders;
  readonly body: string | Uint8Array | EventStream | ByteStream;
}

/** Bytes that are read as they are sent. */
export class ByteStream {
  readonly length: number;
  readonly chunks: AsyncIterable<Uint8Array>;

  constructor(length: number, chunks: AsyncIterable<Uint8Array>) {
    this.length = length;
    this.chunks = chunks;
  }
}

export function jsonReply(body: unknown, headers: ReplyHeaders = {}, status = 200): Reply {
  return textReply(JSON.stringify(body), 'application/json', headers, status);
}

export function textReply(body: string, contentType: string, headers: ReplyHeaders = {}, status = 200): Reply {
  return { status, headers: { 'content-type': contentType, ...headers }, body };
}

/** `x-accel-buffering` keeps reverse proxies from collecting the events. */
export function eventReply(body: EventStream, headers: ReplyHeaders = {}): Reply {
  return {
    status: 200,
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
      ...headers,
    },
    body,
  };
}

/** `body`: the error as the API of the route shows it. Default: OpenAI's shape. */
export function errorReply(error: HttpError, body = errorBody(error)): Reply {
  return textReply(body, 'application/json', error.headers, error.status);
}
