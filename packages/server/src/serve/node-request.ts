import type { IncomingMessage } from 'node:http';
import { bodyTooLarge } from '../http/body.ts';
import { HttpError } from '../http/errors.ts';
import { type AppRequest, newRequestId, splitTarget } from '../http/request.ts';

/** A request from a socket. */
export class NodeRequest implements AppRequest {
  readonly method: string;
  readonly path: string;
  readonly requestId = newRequestId();
  readonly signal: AbortSignal;
  readonly #req: IncomingMessage;
  readonly #query: string;

  constructor(req: IncomingMessage, signal: AbortSignal) {
    this.#req = req;
    this.signal = signal;
    this.method = req.method ?? 'GET';
    const { path, query } = splitTarget(req.url ?? '/');
    this.path = path;
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
      req.on('close', () => reject(new HttpError(400, 'The body ended early.', { code: 'incomplete_body' })));
      req.on('error', reject);
    });
  }
}
