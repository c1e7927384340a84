/** A request as the handlers see it, whatever brought it: a socket, or a call of `fetch`. */
export interface AppRequest {
  readonly method: string;
  /** As it was sent, without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** Ours, and of no other request: the ids of answers hold it. */
  readonly requestId: string;
  /** The client's own name of the request, from X-Request-Id: it is echoed and logged, and nothing is found by it. */
  readonly label: string | null;
  /** Aborts when the client is gone before its answer is whole. */
  readonly signal: AbortSignal;
  /** The value of a header, by its name in lower case. */
  header(name: string): string | undefined;
  /**
   * The bytes of the body. Rejects with HttpError 413 as soon as more than `maxBytes` were announced or read, and 400 when the
   * body ends early.
   */
  body(maxBytes: number): Promise<Uint8Array>;
  /** The bytes of a body that is too large to hold, as they come. Throws HttpError 400 when it ends early. */
  chunks(): AsyncIterable<Uint8Array>;
}

const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
/** Drawn for many ids at a time: a draw costs as much as the rest of an id. */
const randomBytes = new Uint8Array(4096);
let drawn = randomBytes.length;

/** 32 hexadecimal digits, of 128 random bits. */
export function newRequestId(): string {
  if (drawn === randomBytes.length) {
    crypto.getRandomValues(randomBytes);
    drawn = 0;
  }
  let id = '';
  for (const end = drawn + 16; drawn < end; drawn++) id += hex[randomBytes[drawn]!];
  return id;
}

/** A label that is fit to be sent back and logged, or null. */
export function requestLabel(header: string | undefined): string | null {
  return header !== undefined && /^[\w.-]{1,128}$/.test(header) ? header : null;
}

/** Path and query of a request target, in origin form or absolute form. Nothing is decoded or collapsed. */
export function splitTarget(target: string): { path: string; query: string } {
  const absolute = /^https?:\/\/[^/?#]*/i.exec(target);
  const rest = (absolute ? target.slice(absolute[0].length) : target).split('#', 1)[0] ?? '';
  const mark = rest.indexOf('?');
  const path = mark < 0 ? rest : rest.slice(0, mark);
  return { path: path === '' ? '/' : path, query: mark < 0 ? '' : rest.slice(mark + 1) };
}
