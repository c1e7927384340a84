import type { Socket } from 'node:net';

/**
 * What a frame is about: a byte of kind, the length as a big-endian u32, and the content.
 *
 * - hello: who a rank is. met: all have come. beat: this end lives. refused: why this rank cannot come.
 * - order: a message between the two ranks. end: the group is at an end because of a rank. bye: all is done.
 */
export const Kind = { hello: 1, met: 2, beat: 3, end: 4, refused: 5, order: 6, bye: 7 } as const;

const HEAD_BYTES = 5;
/** Far above what somebody says who has not been let in. */
const MAX_STRANGE_FRAME = 1 << 20;
/** The tables of a model's positions may take hundreds of megabytes. */
const MAX_FRAME = 2 ** 31;

export interface LineTiming {
  /** Milliseconds between two beats. */
  readonly beat: number;
  /** Milliseconds of silence after which the other end counts as gone. */
  readonly silence: number;
}

/** One end of a connection between two ranks: frames in, frames and beats out, one reason when it ends. */
export class Line {
  readonly #socket: Socket;
  readonly #timing: LineTiming;
  readonly #beats: NodeJS.Timeout;
  #received: Buffer[] = [];
  #size = 0;
  #maxFrame = MAX_STRANGE_FRAME;
  #heard = Date.now();
  #looked = Date.now();
  onFrame: (kind: number, content: Buffer) => void = () => {};
  onEnd: (reason: string) => void = () => {};

  constructor(socket: Socket, timing: LineTiming) {
    this.#socket = socket;
    this.#timing = timing;
    socket.setNoDelay(true);
    socket.on('data', chunk => this.#take(chunk));
    socket.on('error', error => this.#finish(error.message));
    socket.on('close', () => this.#finish('it closed its connection'));
    // Not the socket's own timeout, which what this side sends would put off.
    this.#beats = setInterval(() => this.#beat(), timing.beat);
    this.#beats.unref();
  }

  /** The other end is one of the group. */
  trust(): void {
    this.#maxFrame = MAX_FRAME;
  }

  send(kind: number, content: Uint8Array = new Uint8Array()): void {
    if (!this.#socket.writable) return;
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt8(kind, 0);
    head.writeUInt32BE(content.length, 1);
    this.#socket.cork();
    this.#socket.write(head);
    if (content.length > 0) this.#socket.write(content);
    this.#socket.uncork();
  }

  /** Ends the connection after what was sent; nothing is reported any more. */
  close(): void {
    this.onEnd = () => {};
    this.onFrame = () => {};
    clearInterval(this.#beats);
    this.#socket.end(() => this.#socket.destroy());
    // An end that takes nothing more would keep the socket, and with it this process.
    setTimeout(() => this.#socket.destroy(), this.#timing.silence).unref();
  }

  #beat(): void {
    const { beat, silence } = this.#timing;
    const now = Date.now();
    // A loop of this end that stood still has heard nothing either.
    if (now - this.#looked > 3 * beat) this.#heard = now;
    this.#looked = now;
    if (now - this.#heard > silence) this.#finish(`it was silent for ${silence} ms`);
    else this.send(Kind.beat);
  }

  #take(chunk: Buffer): void {
    this.#heard = Date.now();
    this.#received.push(chunk);
    this.#size += chunk.length;
    for (let length = this.#nextLength(); length !== null; length = this.#nextLength()) {
      if (length > this.#maxFrame) {
        this.#finish(`it sent a frame of ${length} bytes, expected at most ${this.#maxFrame}`);
        return;
      }
      const end = HEAD_BYTES + length;
      if (this.#size < end) return;
      const all = this.#joined();
      const rest = all.subarray(end);
      this.#received = rest.length === 0 ? [] : [rest];
      this.#size = rest.length;
      this.#tell(all.readUInt8(0), all.subarray(HEAD_BYTES, end));
    }
  }

  #tell(kind: number, content: Buffer): void {
    try {
      this.onFrame(kind, content);
    } catch (error) {
      this.#finish(`what it sent could not be understood: ${(error as Error).message}`);
    }
  }

  /** Bytes of the content of the next frame; null while its head is not here. */
  #nextLength(): number | null {
    if (this.#size < HEAD_BYTES) return null;
    const head = this.#received[0]!.length < HEAD_BYTES ? this.#joined() : this.#received[0]!;
    return head.readUInt32BE(1);
  }

  #joined(): Buffer {
    if (this.#received.length > 1) this.#received = [Buffer.concat(this.#received)];
    return this.#received[0]!;
  }

  #finish(reason: string): void {
    const { onEnd } = this;
    this.onEnd = () => {};
    clearInterval(this.#beats);
    this.#socket.destroy();
    onEnd(reason);
  }
}
