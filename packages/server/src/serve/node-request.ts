import type { IncomingMessage } from 'node:http';
import { bodyTooLarge } from '../http/body.ts';
import { HttpError } from '../http/errors.ts';
import { type AppRequest, newRequestId, requestLabel, splitTarget } from '../http/request.ts';

export interface NodeRequestOptions {
  /** Taken off the front of the path, where it is there. */
  readonly rootPath?: string | undefined;
  /** Take the client's X-Request-Id as the request's label. */
  readonly enableRequestIdHeaders?: boolean | undefined;
}

/** A request from a socket. */
export class NodeRequest implements AppRequest {
  readonly method: string;
  readonly path: string;
  readonly requestId = newRequestId();
  readonly label: string | null;
  readonly signal: AbortSignal;
  readonly #req: IncomingMessage;
  readonly #query: string;

  constructor(req: IncomingMessage, signal: AbortSignal, options: NodeRequestOptions = {}) {
    this.#req = req;
    this.label = options.enableRequestIdHeaders === true ? requestLabel(this.header('x-request-id')) : null;
    this.signal = signal;
    this.method = req.method ?? 'GET';
    const { path, query } = splitTarget(req.url ?? '/');
    this.path = withoutRoot(path, options.rootPath);
    this.#query = query;
  }

  get query(): URLSearchParams {
    return new URLSearchParams(this.#query);
  }

  header(name: string): string | undefined {
    const value = this.#req.headers[name];
    return Array.isArray(value) ? value.join(', ') : value;
  }

  /** By events: leaving an async iteration would destroy the socket before the answer is sent. */
  body(maxBytes: number): Promise<Uint8Array> {
    const req = this.#req;
    return new Promise((resolve, reject) => {
      if (Number(req.headers['content-length'] ?? 0) > maxBytes) return reject(bodyTooLarge(maxBytes));
      const chunks: Buffer[] = [];
      let bytes = 0;
      req.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > maxBytes) {
          req.removeAllListeners('data');
          return reject(bodyTooLarge(maxBytes));
        }
        chunks.push(chunk);
      });
      req.on('end', () => resolve(Buffer.concat(chunks, bytes)));
      req.on('close', () => {
        if (!req.complete) reject(incompleteBody());
      });
      req.on('error', reject);
    });
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    try {
      // The socket lives on when the reader leaves early: the answer is still to be sent.
      yield* this.#req.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
    } catch (cause) {
      throw incompleteBody(cause);
    }
  }
}

function incompleteBody(cause?: unknown): HttpError {
  return new HttpError(400, 'The body ended early.', { code: 'incomplete_body', cause });
}

/** Proxies differ in whether they take their prefix away, so both are right. */
function withoutRoot(path: string, rootPath = ''): string {
  const root = rootPath.replace(/\/+$/, '');
  if (root === '' || !path.startsWith(root)) return path;
  const rest = path.slice(root.length);
  if (rest === '') return '/';
  return rest.startsWith('/') ? rest : path;
}
