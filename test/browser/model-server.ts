import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** A server of a model folder that answers ranges, and breaks off when it is told to. */
export class ModelServer {
  readonly #server: Server;
  /** Paths of the requests that came, with the range that each asked for. */
  readonly requests: string[] = [];
  /** Bytes of the weights after which the next answer stands still until `breakOff`; null: none does. */
  breakAfter: number | null = null;
  #broken: ServerResponse | null = null;
  /** What HEAD says of the weights; null: the truth. */
  claimedBytes: number | null = null;

  private constructor(folder: string) {
    this.#server = createServer((req, res) => {
      const file = (req.url ?? '/').split('/').at(-1)!;
      this.requests.push(`${req.method} ${file}${req.headers.range === undefined ? '' : ` ${req.headers.range}`}`);
      res.setHeader('access-control-allow-origin', '*');
      res.setHeader('access-control-allow-headers', '*');
      res.setHeader('access-control-expose-headers', 'etag, content-range, content-length, x-linked-etag');
      if (req.method === 'OPTIONS') return void res.end();
      const bytes = read(join(folder, file));
      if (bytes === null) return void res.writeHead(404).end();
      const hash = createHash('sha256').update(bytes).digest('hex');
      res.setHeader('etag', `"${hash}"`);
      if (file.endsWith('.safetensors')) res.setHeader('x-linked-etag', `"${hash}"`);
      if (req.method === 'HEAD') {
        const claimed = file.endsWith('.safetensors') ? this.claimedBytes : null;
        return void res.writeHead(200, { 'content-length': claimed ?? bytes.length }).end();
      }
      const range = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? '');
      const from = Number(range?.[1] ?? 0);
      const end = range?.[2] ? Math.min(bytes.length, Number(range[2]) + 1) : bytes.length;
      if (range !== null) res.setHeader('content-range', `bytes ${from}-${end - 1}/${bytes.length}`);
      res.writeHead(range === null ? 200 : 206, { 'content-length': end - from });
      const breaks = this.breakAfter !== null && end > this.breakAfter && file.endsWith('.safetensors');
      if (!breaks) return void res.end(bytes.subarray(from, end));
      res.write(bytes.subarray(from, this.breakAfter!));
      this.#broken = res;
    });
  }

  static async open(folder: string): Promise<ModelServer> {
    const opened = new ModelServer(folder);
    await new Promise<void>(resolve => opened.#server.listen(0, '127.0.0.1', resolve));
    return opened;
  }

  /** Closes the connection of the answer that stands still. */
  breakOff(): void {
    this.#broken!.destroy();
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/tiny`;
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise(resolve => this.#server.close(() => resolve()));
  }
}

function read(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch {
    return null;
  }
}
