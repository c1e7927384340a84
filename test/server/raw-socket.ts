import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  status: number;
  headers: string;
  body: string;
}

/** Opens a connection, sends `parts` one after another, and keeps what comes back. */
export class RawClient {
  readonly socket: Socket;
  received = '';
  readonly closed: Promise<void>;

  constructor(port: number, allowHalfOpen = false) {
    this.socket = connect({ port, host: '127.0.0.1', allowHalfOpen });
    this.socket.on('data', chunk => {
      this.received += chunk.toString('latin1');
    });
    this.socket.on('error', () => undefined);
    this.closed = new Promise(resolve => this.socket.once('close', () => resolve()));
  }

  send(...parts: (string | Uint8Array)[]): this {
    for (const part of parts) this.socket.write(part);
    return this;
  }

  /** Resolves when `text` has arrived. Rejects when the connection closes before. */
  async until(text: string): Promise<void> {
    const gone = this.closed.then(() => {
      if (!this.received.includes(text)) throw new Error(`closed before ${JSON.stringify(text)}: ${this.received}`);
    });
    while (!this.received.includes(text)) {
      await Promise.race([new Promise(resolve => this.socket.once('data', resolve)), gone]);
    }
  }

  get answer(): RawAnswer {
    const [headers = '', body = ''] = this.received.split('\r\n\r\n', 2);
    return { status: Number(headers.split(' ')[1]), headers, body };
  }
}

/** Sends one raw request and waits until the server closes the connection. */
export async function rawRequest(port: number, ...parts: (string | Uint8Array)[]): Promise<RawAnswer> {
  const client = new RawClient(port).send(...parts);
  await client.closed;
  return client.answer;
}

/** A POST with a JSON body as bytes. `headers` replace or add to the usual ones. */
export function rawPost(
  path: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): (string | Uint8Array)[] {
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  const all = {
    host: '127.0.0.1',
    'content-type': 'application/json',
    'content-length': String(bytes.length),
    connection: 'close',
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return [`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n`, bytes];
}
