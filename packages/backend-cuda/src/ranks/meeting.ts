/**
 * How the processes of a group find one another and learn of a death. Rank 0 listens; every other rank connects, says who it is,
 * and gets the group's data (the ids of NCCL's communicators) when all have come. The connections stay: each side sends a beat
 * every second, and a connection that ends, or is silent for ten, is a rank that is gone. Rank 0 then tells the others and the
 * meeting is over everywhere.
 *
 * Frames are a byte of kind, the length as a big-endian u32, and the content. The network between the ranks is trusted, as NCCL's
 * is: whoever reaches the port may take a rank's place.
 */
import { createServer, connect as openSocket, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { RankPlace } from './launcher.ts';

/** The group did not come together, or a rank of it is gone. `rank` is the one at fault, null when several may be. */
export class RankLostError extends Error {
  override readonly name = 'RankLostError';
  readonly rank: number | null;
  constructor(rank: number | null, message: string) {
    super(message);
    this.rank = rank;
  }
}

export interface MeetingOptions {
  /** Milliseconds until all ranks must have come. Default 10 minutes: other machines may still load images. */
  joinTimeout?: number;
  /** Milliseconds between two beats, and of silence after which a rank counts as gone. Default 1,000 and 10,000. */
  beat?: number;
  silence?: number;
}

export interface Meeting {
  /** What rank 0 brought. */
  readonly data: Uint8Array;
  /** Resolves with the reason when a rank is gone; never after close(). */
  readonly lost: Promise<RankLostError>;
  /** Leaves the group: the others see this rank go. */
  close(): void;
}

type Timing = Required<MeetingOptions>;
type Place = Pick<RankPlace, 'rank' | 'size' | 'leader'>;

const Kind = { hello: 1, data: 2, beat: 3, end: 4, refused: 5 } as const;
const MAGIC = 0x51_55_49_52;
/** Far above what a group has to say. */
const MAX_FRAME = 1 << 20;

/**
 * Brings the ranks of a group together. `data` is rank 0's, and is called once all others have connected.
 * @throws RankLostError when they do not come in time, or one is refused.
 */
export async function meetRanks(place: Place, data: () => Uint8Array, options: MeetingOptions = {}): Promise<Meeting> {
  const timing = { joinTimeout: 600_000, beat: 1_000, silence: 10_000, ...options };
  return place.rank === 0 ? await lead(place, data, timing) : await follow(place, timing);
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>(done => {
    resolve = done;
  });
  return { promise, resolve };
}

/** One end of a connection: frames in, frames and beats out, one reason when it ends. */
class Line {
  readonly #socket: Socket;
  readonly #beats: NodeJS.Timeout;
  #received = Buffer.alloc(0);
  #heard = Date.now();
  onFrame: (kind: number, content: Buffer) => void = () => {};
  onEnd: (reason: string) => void = () => {};

  constructor(socket: Socket, { beat, silence }: Timing) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', chunk => this.#take(chunk));
    socket.on('error', error => this.#finish(error.message));
    socket.on('close', () => this.#finish('it closed its connection'));
    // Not the socket's own timeout, which what this side sends would put off.
    this.#beats = setInterval(() => {
      if (Date.now() - this.#heard > silence) this.#finish(`it was silent for ${silence} ms`);
      else this.send(Kind.beat);
    }, beat);
    this.#beats.unref();
  }

  send(kind: number, content: Uint8Array = new Uint8Array()): void {
    const head = Buffer.alloc(5);
    head.writeUInt8(kind, 0);
    head.writeUInt32BE(content.length, 1);
    if (this.#socket.writable) this.#socket.write(Buffer.concat([head, content]));
  }

  /** Ends the connection after what was sent; nothing is reported any more. */
  close(): void {
    this.onEnd = () => {};
    this.onFrame = () => {};
    clearInterval(this.#beats);
    this.#socket.end(() => this.#socket.destroy());
  }

  #take(chunk: Buffer): void {
    this.#heard = Date.now();
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 5) {
      const length = this.#received.readUInt32BE(1);
      if (length > MAX_FRAME) {
        this.#finish(`it sent a frame of ${length} bytes, expected at most ${MAX_FRAME}`);
        return;
      }
      if (this.#received.length < 5 + length) return;
      const [kind, content] = [this.#received.readUInt8(0), this.#received.subarray(5, 5 + length)];
      this.#received = this.#received.subarray(5 + length);
      this.onFrame(kind, content);
    }
  }

  #finish(reason: string): void {
    const { onEnd } = this;
    this.onEnd = () => {};
    clearInterval(this.#beats);
    this.#socket.destroy();
    onEnd(reason);
  }
}

async function lead({ size, leader }: Place, data: () => Uint8Array, timing: Timing): Promise<Meeting> {
  const lines = new Map<number, Line>();
  const { promise: lost, resolve: lose } = deferred<RankLostError>();
  const { promise: complete, resolve: allCame } = deferred<void>();
  const end = (rank: number, reason: string) => {
    const error = new RankLostError(rank, `Rank ${rank} of ${size} is gone: ${reason}. Start the group again.`);
    for (const line of lines.values()) {
      line.send(Kind.end, Buffer.from(JSON.stringify({ rank, message: error.message })));
      line.close();
    }
    lines.clear();
    lose(error);
  };
  const server = await listen(leader.port, socket => {
    const line = new Line(socket, timing);
    line.onFrame = (kind, content) => {
      const problem = kind === Kind.hello ? problemOf(content, size, lines) : 'it did not say who it is';
      if (problem !== null) {
        line.send(Kind.refused, Buffer.from(problem));
        line.close();
        return;
      }
      const rank = content.readUInt32BE(4);
      lines.set(rank, line);
      line.onFrame = () => {};
      line.onEnd = reason => end(rank, reason);
      if (lines.size === size - 1) allCame();
    };
  });
  if (size === 1) allCame();
  try {
    await Promise.race([
      complete,
      lost.then(error => Promise.reject(error)),
      delay(timing.joinTimeout, undefined, { ref: false }).then(() => Promise.reject(notCome(size, lines, timing))),
    ]);
  } catch (error) {
    for (const line of lines.values()) line.close();
    throw error;
  } finally {
    server.close();
  }
  const content = data();
  for (const line of lines.values()) line.send(Kind.data, content);
  return {
    data: content,
    lost,
    close: () => {
      for (const line of lines.values()) line.close();
      lines.clear();
    },
  };
}

/** What is wrong with a rank's hello: its mark, its rank, and the size that it knows. */
function problemOf(hello: Buffer, size: number, lines: ReadonlyMap<number, Line>): string | null {
  if (hello.length !== 12 || hello.readUInt32BE(0) !== MAGIC) return 'found no rank of a Quire group';
  const [rank, knownSize] = [hello.readUInt32BE(4), hello.readUInt32BE(8)];
  if (knownSize !== size) return `found a rank of a group of ${knownSize}, expected ${size}`;
  if (rank === 0 || rank >= size) return `found rank ${rank}, expected 1 .. ${size - 1}`;
  return lines.has(rank) ? `found rank ${rank} twice` : null;
}

function notCome(size: number, lines: ReadonlyMap<number, Line>, { joinTimeout }: Timing): RankLostError {
  const missing = Array.from({ length: size - 1 }, (_, i) => i + 1).filter(rank => !lines.has(rank));
  const message = `found no rank ${missing.join(', ')} of ${size} within ${joinTimeout} ms: start every rank with the same leader.`;
  return new RankLostError(missing.length === 1 ? missing[0]! : null, message);
}

function listen(port: number, onConnection: (socket: Socket) => void): Promise<Server> {
  const server = createServer(onConnection);
  return new Promise((resolve, reject) => {
    server.once('error', error =>
      reject(new RankLostError(0, `Rank 0 cannot listen on port ${port}: ${error.message}.`)),
    );
    server.listen(port, () => resolve(server));
  });
}

async function follow({ rank, size, leader }: Place, timing: Timing): Promise<Meeting> {
  const line = new Line(await reach(leader, timing), timing);
  const { promise: lost, resolve: lose } = deferred<RankLostError>();
  const { promise: received, resolve: receive } = deferred<Uint8Array>();
  line.onEnd = reason => lose(new RankLostError(0, `Rank 0 of ${size} is gone: ${reason}. Start the group again.`));
  line.onFrame = (kind, content) => {
    if (kind === Kind.data) receive(Uint8Array.from(content));
    if (kind === Kind.refused) lose(new RankLostError(rank, `Rank 0 refused rank ${rank}: ${content}.`));
    if (kind === Kind.end) {
      const told = JSON.parse(content.toString()) as { rank: number; message: string };
      lose(new RankLostError(told.rank, told.message));
    }
  };
  const hello = Buffer.alloc(12);
  for (const [i, word] of [MAGIC, rank, size].entries()) hello.writeUInt32BE(word, 4 * i);
  line.send(Kind.hello, hello);
  const data = await Promise.race([received, lost.then(error => Promise.reject(error))]);
  return { data, lost, close: () => line.close() };
}

/** Rank 0 may not listen yet. */
async function reach({ host, port }: RankPlace['leader'], { joinTimeout, beat }: Timing): Promise<Socket> {
  const giveUp = Date.now() + joinTimeout;
  for (;;) {
    try {
      return await new Promise<Socket>((resolve, reject) => {
        const socket = openSocket({ host, port }, () => {
          socket.off('error', reject);
          resolve(socket);
        });
        socket.once('error', reject);
      });
    } catch (error) {
      if (Date.now() + beat > giveUp) {
        const found = (error as Error).message;
        throw new RankLostError(0, `Rank 0 was not reached at ${host}:${port} within ${joinTimeout} ms: ${found}.`);
      }
      await delay(beat);
    }
  }
}
