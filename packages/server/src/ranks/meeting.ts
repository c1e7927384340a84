/**
 * How the processes of a group find one another, talk, and learn of a death. Rank 0 listens; every other rank connects and says who
 * it is and what it has. The connections stay: rank 0 sends orders, the others answer; each side sends a beat every second, and a
 * connection that ends, or is silent for thirty, is a rank that is gone. Rank 0 then tells the others, and the meeting is over
 * everywhere.
 *
 * The network between the ranks is trusted, as NCCL's is: whoever reaches the port may take a rank's place.
 */
import { createServer, connect as openSocket, type Server, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { QuireError } from '@quire/core';
import type { RankPlace } from './launcher.ts';
import { Kind, Line, type LineTiming } from './line.ts';

/** The group did not come together, or a rank of it is gone. `rank` is the one at fault, null when several may be. */
export class RankLostError extends QuireError {
  override readonly name = 'RankLostError';
  readonly rank: number | null;
  constructor(rank: number | null, message: string) {
    super('rank_lost', message);
    this.rank = rank;
  }
}

export interface MeetingOptions extends Partial<LineTiming> {
  /** Milliseconds until all ranks must have come. Default 10 minutes: other machines may still load images. */
  joinTimeout?: number;
  /** Told of those who were not let in. */
  onRefused?: (message: string) => void;
}

/** What all ranks must have alike, by its name for people: a version, an option, the digest of a file. */
export type Card = Readonly<Record<string, string>>;

export interface Meeting {
  /** The ranks that this one talks to: all others from rank 0, rank 0 from the others. */
  readonly peers: ReadonlyMap<number, Peer>;
  /** Resolves with the reason when a rank is gone; never after close(). */
  readonly lost: Promise<RankLostError>;
  /** Resolves when rank 0 says that all is done. */
  readonly over: Promise<void>;
  /** From rank 0: the group is at an end, and the others learn why. */
  fail(message: string): void;
  /** Leaves the group. When rank 0 does, all is done; when another one does, the others see it go. */
  close(): void;
}

type Timing = Required<MeetingOptions>;
type Place = Pick<RankPlace, 'rank' | 'size' | 'leader'>;

const MAGIC = 'quire ranks 2';

interface Hello {
  readonly magic: string;
  readonly rank: number;
  readonly size: number;
  readonly host: string;
  readonly card: Card;
}

/** Another rank: messages in order, both ways. */
export class Peer {
  readonly host: string;
  readonly #line: Line;
  #early: Buffer[] = [];
  #onMessage: ((message: Buffer) => void) | null = null;

  constructor(host: string, line: Line) {
    this.host = host;
    this.#line = line;
  }

  send(message: Uint8Array): void {
    this.#line.send(Kind.order, message);
  }

  /** Called once. What has come before is told at once. */
  listen(onMessage: (message: Buffer) => void): void {
    this.#onMessage = onMessage;
    const early = this.#early;
    this.#early = [];
    for (const message of early) onMessage(message);
  }

  /** A message of that rank. */
  receive(message: Buffer): void {
    if (this.#onMessage === null) this.#early.push(message);
    else this.#onMessage(message);
  }
}

/**
 * Brings the ranks of a group together.
 * @throws RankLostError when they do not come in time, one is refused, or what it has is not what rank 0 has.
 */
export async function meetRanks(place: Place, card: Card = {}, options: MeetingOptions = {}): Promise<Meeting> {
  const timing = { joinTimeout: 600_000, beat: 1_000, silence: 30_000, onRefused: () => {}, ...options };
  return place.rank === 0 ? await lead(place, card, timing) : await follow(place, card, timing);
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>(done => {
    resolve = done;
  });
  return { promise, resolve };
}

async function lead(place: Place, card: Card, timing: Timing): Promise<Meeting> {
  const host = new Host(place.size, card, timing);
  const server = await listen(place.leader.port, socket => host.greet(new Line(socket, timing)));
  const late = delay(timing.joinTimeout, undefined, { ref: false }).then(() => Promise.reject(host.notCome()));
  try {
    await Promise.race([host.complete, host.lost.then(error => Promise.reject(error)), late]);
  } catch (error) {
    host.fail((error as Error).message);
    throw error;
  } finally {
    server.close();
  }
  host.open();
  return host;
}

/** Rank 0's side of a meeting. */
class Host implements Meeting {
  readonly peers = new Map<number, Peer>();
  readonly lost: Promise<RankLostError>;
  readonly over = new Promise<void>(() => {});
  /** Resolves when all have come. */
  readonly complete: Promise<void>;
  readonly #size: number;
  readonly #card: Card;
  readonly #timing: Timing;
  readonly #lines = new Map<number, Line>();
  /** Those that have connected and not said who they are. */
  readonly #strangers = new Set<Line>();
  #isOver = false;
  readonly #lose: (error: RankLostError) => void;
  readonly #allCame: () => void;

  constructor(size: number, card: Card, timing: Timing) {
    this.#size = size;
    this.#card = card;
    this.#timing = timing;
    ({ promise: this.lost, resolve: this.#lose } = deferred<RankLostError>());
    ({ promise: this.complete, resolve: this.#allCame } = deferred<void>());
    if (size === 1) this.#allCame();
  }

  /** Somebody has connected, and is to say who it is. */
  greet(line: Line): void {
    this.#strangers.add(line);
    line.onEnd = () => this.#strangers.delete(line);
    line.onFrame = (kind, content) => {
      this.#strangers.delete(line);
      if (this.#isOver) return this.#refuse(line, 'the group is at an end');
      const hello = kind === Kind.hello ? readHello(content) : null;
      if (hello === null) return this.#refuse(line, 'found no rank of a Quire group of this version');
      const problem = problemOf(hello, this.#size, this.#lines);
      if (problem !== null) return this.#refuse(line, problem);
      const { rank, host } = hello;
      const difference = differenceOf(hello.card, this.#card);
      if (difference === null) return this.#admit(rank, host, line);
      const message = `Rank ${rank} of ${this.#size} on ${host} does not fit: found ${difference} as on rank 0 on ${hostname()}.`;
      this.#refuse(line, message);
      this.#end(rank, message);
    };
  }

  /** All have come. */
  open(): void {
    this.#closeStrangers();
    for (const line of this.#lines.values()) line.send(Kind.met);
  }

  notCome(): RankLostError {
    const [size, { joinTimeout }] = [this.#size, this.#timing];
    const missing = Array.from({ length: size - 1 }, (_, i) => i + 1).filter(rank => !this.#lines.has(rank));
    const message = `found no rank ${missing.join(', ')} of ${size} within ${joinTimeout} ms: start every rank with the same leader.`;
    return new RankLostError(missing.length === 1 ? missing[0]! : null, message);
  }

  fail(message: string): void {
    this.#tellAll(Kind.end, Buffer.from(JSON.stringify({ rank: null, message })));
  }

  close(): void {
    this.#tellAll(Kind.bye);
  }

  #admit(rank: number, host: string, line: Line): void {
    const peer = new Peer(host, line);
    line.trust();
    this.#lines.set(rank, line);
    this.peers.set(rank, peer);
    line.onFrame = (kind, content) => {
      if (kind === Kind.order) peer.receive(content);
    };
    line.onEnd = reason => {
      this.#end(rank, `Rank ${rank} of ${this.#size} on ${host} is gone: ${reason}. Start the group again.`);
    };
    if (this.#lines.size === this.#size - 1) this.#allCame();
  }

  #refuse(line: Line, problem: string): void {
    line.send(Kind.refused, Buffer.from(problem));
    line.close();
    this.#timing.onRefused(problem);
  }

  #end(rank: number, message: string): void {
    this.#tellAll(Kind.end, Buffer.from(JSON.stringify({ rank, message })));
    this.#lose(new RankLostError(rank, message));
  }

  /** The last that they hear. */
  #tellAll(kind: number, content?: Uint8Array): void {
    for (const line of this.#lines.values()) {
      line.send(kind, content);
      line.close();
    }
    this.#lines.clear();
    this.#isOver = true;
    this.#closeStrangers();
  }

  #closeStrangers(): void {
    for (const line of this.#strangers) line.close();
    this.#strangers.clear();
  }
}

/** null: it is none. */
function readHello(content: Buffer): Hello | null {
  try {
    const hello = JSON.parse(content.toString()) as Partial<Hello>;
    const { magic, rank, size, host, card } = hello;
    const isHello = magic === MAGIC && Number.isInteger(rank) && Number.isInteger(size) && typeof host === 'string';
    return isHello && typeof card === 'object' ? (hello as Hello) : null;
  } catch {
    return null;
  }
}

/** What is wrong with the place of a rank. */
function problemOf(hello: Hello, size: number, lines: ReadonlyMap<number, Line>): string | null {
  const { rank, host } = hello;
  if (hello.size !== size) return `found a rank of a group of ${hello.size} on ${host}, expected ${size}`;
  if (rank <= 0 || rank >= size) return `found rank ${rank} on ${host}, expected 1 .. ${size - 1}`;
  return lines.has(rank) ? `found rank ${rank} twice, the second time on ${host}` : null;
}

function differenceOf(theirs: Card, own: Card): string | null {
  for (const name of new Set([...Object.keys(own), ...Object.keys(theirs)])) {
    const [found = 'none', expected = 'none'] = [theirs[name], own[name]];
    if (found !== expected) return `${name} ${found}, expected ${expected}`;
  }
  return null;
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

async function follow({ rank, size, leader }: Place, card: Card, timing: Timing): Promise<Meeting> {
  const line = new Line(await reach(leader, timing), timing);
  const { promise: lost, resolve: lose } = deferred<RankLostError>();
  const { promise: met, resolve: meet } = deferred<void>();
  const { promise: over, resolve: finish } = deferred<void>();
  const peer = new Peer(leader.host, line);
  line.trust();
  line.onEnd = reason =>
    lose(new RankLostError(0, `Rank 0 of ${size} on ${leader.host} is gone: ${reason}. Start the group again.`));
  line.onFrame = (kind, content) => {
    if (kind === Kind.order) peer.receive(content);
    else if (kind === Kind.met) meet();
    else if (kind === Kind.bye) finish();
    else if (kind === Kind.refused)
      lose(new RankLostError(rank, `Rank 0 on ${leader.host} refused rank ${rank}: ${content}.`));
    else if (kind === Kind.end) {
      const told = JSON.parse(content.toString()) as { rank: number | null; message: string };
      lose(new RankLostError(told.rank, told.message));
    }
  };
  const hello: Hello = { magic: MAGIC, rank, size, host: hostname(), card };
  line.send(Kind.hello, Buffer.from(JSON.stringify(hello)));
  await Promise.race([met, lost.then(error => Promise.reject(error))]);
  const close = () => line.close();
  return { peers: new Map([[0, peer]]), lost, over, fail: close, close };
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
