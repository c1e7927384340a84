import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import type { Socket } from 'node:net';

type Params = Record<string, unknown>;

export interface PausedProcess {
  child: ChildProcess;
  /** Of its inspector. */
  address: string;
  /** Rejects when the process ends, with what it wrote to standard error. */
  ended: Promise<never>;
}

/** Starts `node --inspect-brk` on a free port. */
export function startPaused(args: readonly string[], cwd: string): Promise<PausedProcess> {
  const inspect = '--inspect-brk=127.0.0.1:0';
  const child = spawn(process.execPath, [inspect, ...args], { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  const ended = new Promise<never>((_, reject) => {
    child.once('exit', code => reject(new Error(`the process ended with ${code}: ${errors}`)));
  });
  ended.catch(() => undefined);
  const address = new Promise<string>(resolve => {
    child.stderr!.on('data', chunk => {
      errors += String(chunk);
      const match = /ws:\/\/\S+/.exec(errors);
      if (match) resolve(match[0]);
    });
  });
  return Promise.race([address, ended]).then(found => ({ child, address: found, ended }));
}

/** A client of Node's inspector: the protocol that an editor's debugger speaks. */
export class InspectorClient {
  readonly #socket: Socket;
  readonly #calls = new Map<number, (result: Params) => void>();
  readonly #listeners = new Map<string, (params: Params) => void>();
  #received: Buffer;
  #fragments: Buffer[] = [];
  #nextId = 1;

  private constructor(socket: Socket, head: Buffer) {
    this.#socket = socket;
    this.#received = head;
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      while (this.#takeFrame());
    });
    socket.on('error', () => undefined);
  }

  static connect(address: string): Promise<InspectorClient> {
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
    };
    return new Promise((resolve, reject) => {
      const upgrade = request(address.replace(/^ws/, 'http'), { headers });
      upgrade.on('upgrade', (_, socket, head) => resolve(new InspectorClient(socket as Socket, head)));
      upgrade.on('error', reject);
      upgrade.end();
    });
  }

  on(method: string, listener: (params: Params) => void): void {
    this.#listeners.set(method, listener);
  }

  once(method: string): Promise<Params> {
    return new Promise(resolve => this.on(method, resolve));
  }

  call(method: string, params: Params = {}): Promise<Params> {
    const id = this.#nextId++;
    this.#socket.write(maskedFrame(Buffer.from(JSON.stringify({ id, method, params }))));
    return new Promise(resolve => this.#calls.set(id, resolve));
  }

  close(): void {
    this.#socket.destroy();
  }

  /** RFC 6455; frames of a server are not masked. */
  #takeFrame(): boolean {
    const buffer = this.#received;
    if (buffer.length < 2) return false;
    const short = buffer[1]! & 0x7f;
    const headBytes = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (buffer.length < headBytes) return false;
    const length = short === 127 ? Number(buffer.readBigUInt64BE(2)) : short === 126 ? buffer.readUInt16BE(2) : short;
    if (buffer.length < headBytes + length) return false;
    this.#fragments.push(buffer.subarray(headBytes, headBytes + length));
    this.#received = buffer.subarray(headBytes + length);
    const isLast = (buffer[0]! & 0x80) !== 0;
    if (isLast) this.#dispatch(Buffer.concat(this.#fragments.splice(0)).toString());
    return true;
  }

  #dispatch(text: string): void {
    if (!text.startsWith('{')) return;
    const message = JSON.parse(text) as { id?: number; result?: Params; method?: string; params?: Params };
    if (message.id !== undefined) this.#calls.get(message.id)?.(message.result ?? {});
    else if (message.method !== undefined) this.#listeners.get(message.method)?.(message.params ?? {});
  }
}

function maskedFrame(payload: Buffer): Buffer {
  const mask = randomBytes(4);
  const head = payload.length < 126 ? Buffer.from([0x81, 0x80 | payload.length]) : Buffer.alloc(4);
  if (payload.length >= 126) {
    head[0] = 0x81;
    head[1] = 0x80 | 126;
    head.writeUInt16BE(payload.length, 2);
  }
  return Buffer.concat([head, mask, payload.map((byte, i) => byte ^ mask[i % 4]!)]);
}
