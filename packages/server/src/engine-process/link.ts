import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { makeWay } from '../event-loop.ts';
import { encodeFrame, type Frame, type FrameKind, FrameReader } from './frames.ts';
import { HEARTBEAT_MS } from './host.ts';
import { CHANNEL } from './run-host.ts';

/** Frames are taken for so many milliseconds in one turn of the event loop: what lies in between is a frame of all streams. */
const TURN_MS = 5;

/** Node runs compiled files only, also when this one is run from its source. */
export const hostEntry = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/engine-process/host-main.js' : './host-main.js',
  import.meta.url,
);

export interface LinkOptions {
  /** The program of the process. */
  entry: URL;
  onFrame(frame: Frame): void;
  /** Called once: the process is gone, and all that it sent has been told. */
  onGone(reason: string): void;
}

/** One process with an engine in it, as long as it lives. */
export class EngineLink {
  readonly pid: number | undefined;
  readonly #options: LinkOptions;
  readonly #child: ChildProcess;
  readonly #channel: Duplex;
  readonly #reader = new FrameReader();
  /** Those that came and are not told yet. Nothing behind them is read meanwhile. */
  #frames: Frame[] = [];
  #isDue = false;
  #watch: NodeJS.Timeout | null = null;
  #heardAt = performance.now();
  #isGone = false;
  /** Why this end gave it up. */
  #verdict: string | null = null;

  constructor(options: LinkOptions) {
    this.#options = options;
    // What libraries print must not mix with what the command line says, nor keep this end open.
    const stdio = ['ignore', 2, 2, 'pipe'] as const;
    this.#child = spawn(process.execPath, [fileURLToPath(options.entry)], { stdio: [...stdio], windowsHide: true });
    this.pid = this.#child.pid;
    this.#channel = this.#child.stdio[CHANNEL] as Duplex;
    this.#channel.on('data', (piece: Buffer) => this.#receive(piece));
    this.#channel.on('error', () => {});
    this.#child.once('error', error => this.#gone(`it could not be started: ${error.message}`));
    // After the last of what it sent was read.
    this.#child.once('close', (code, signal) => {
      this.#tell(Number.POSITIVE_INFINITY);
      this.#gone(signal ? `it was ended by ${signal}` : `it ended with code ${code}`);
    });
  }

  /** Milliseconds since the engine last said something. */
  get silence(): number {
    return performance.now() - this.#heardAt;
  }

  /** What is sent in one turn of the loop leaves in one write. */
  send(kind: FrameKind, head: unknown, words?: Uint32Array): void {
    const frame = encodeFrame(kind, head, words);
    if (this.#isGone) return;
    if (this.#channel.writableCorked === 0) {
      this.#channel.cork();
      setImmediate(() => this.#channel.uncork());
    }
    this.#channel.write(frame);
  }

  /** From now on an engine that is silent for so many milliseconds is taken for dead. */
  watch(silenceMs: number): void {
    this.#heardAt = performance.now();
    let checked = this.#heardAt;
    this.#watch = setInterval(() => {
      const now = performance.now();
      // A loop of this end that stood still has heard nothing either.
      const wasIdle = now - checked > 2 * HEARTBEAT_MS;
      checked = now;
      if (wasIdle) this.#heardAt = now;
      else if (now - this.#heardAt > silenceMs)
        this.kill(`it gave no sign of life for ${Math.round(now - this.#heardAt)} ms`);
    }, HEARTBEAT_MS);
    this.#watch.unref();
  }

  /** Ends the process at once. */
  kill(reason: string): void {
    this.#verdict ??= reason;
    this.#child.kill('SIGKILL');
  }

  #receive(piece: Buffer): void {
    this.#heardAt = performance.now();
    if (this.#verdict !== null) return;
    this.#understand(() => this.#frames.push(...this.#reader.push(piece)));
    if (this.#isDue || this.#frames.length === 0) return;
    this.#isDue = true;
    makeWay(() => this.#tell(TURN_MS));
  }

  /** Tells frames for so many milliseconds, and the others in later turns of the event loop. */
  #tell(milliseconds: number): void {
    const until = performance.now() + milliseconds;
    let told = 0;
    const isTime = () => told < this.#frames.length && this.#verdict === null && performance.now() < until;
    this.#understand(() => {
      while (isTime()) this.#options.onFrame(this.#frames[told++]!);
    });
    this.#frames = this.#verdict === null ? this.#frames.slice(told) : [];
    this.#isDue = this.#frames.length > 0;
    if (this.#isDue) {
      this.#channel.pause();
      makeWay(() => this.#tell(TURN_MS));
    } else if (this.#channel.isPaused()) this.#channel.resume();
  }

  #understand(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.kill(`what it said could not be understood: ${(error as Error).message}`);
    }
  }

  #gone(reason: string): void {
    if (this.#isGone) return;
    this.#isGone = true;
    if (this.#watch !== null) clearInterval(this.#watch);
    this.#options.onGone(this.#verdict ?? reason);
  }
}
