import type { Duplex } from 'node:stream';
import type { Device } from '@quire/core/contract';
import { nodeRuntime } from '../node/llm.ts';
import { ranksEnded } from '../ranks/lead.ts';
import { type OpenedEngine, openEngine } from '../serve/open-engine.ts';
import { toErrorData } from './errors.ts';
import { EngineFeed } from './feed.ts';
import { encodeFrame, type Frame, FrameKind, FrameReader } from './frames.ts';
import type { AbortHead, BootHead, CallHead, Ready } from './messages.ts';
import { decodeAsk } from './params.ts';
import { StepWriter } from './step-records.ts';
import { traceWords } from './trace-frames.ts';

export const HEARTBEAT_MS = 500;
/** Bytes that may wait for the front end before further steps go as one: what is merged costs it less than what is late. */
const MAX_BACKLOG = 64 * 2 ** 10;

export interface HostOptions {
  /** Default: the devices of this machine. */
  openDevice?: (name: string) => Promise<Device>;
  /** Takes every frame in the place of the stream. */
  send?: (frame: Buffer, write: (frame: Buffer) => void) => void;
}

/**
 * The engine's side of the process: opens what the front end asks for, computes, and sends what is new after each step. `onGone` is
 * called when there is nothing left to do: the front end is gone, or has said so.
 */
export class EngineHost {
  readonly #stream: Duplex;
  readonly #options: HostOptions;
  readonly #onGone: () => void;
  readonly #reader = new FrameReader();
  readonly #feed: EngineFeed;
  readonly #heartbeat: NodeJS.Timeout;
  #engine: OpenedEngine | null = null;
  /** Calls are answered one after another: what is woken has slept. */
  #lastCall: Promise<void> = Promise.resolve();

  constructor(stream: Duplex, options: HostOptions, onGone: () => void) {
    this.#stream = stream;
    this.#options = options;
    this.#onGone = onGone;
    this.#feed = new EngineFeed({
      get isFull() {
        return stream.writableLength > MAX_BACKLOG;
      },
      step: words => this.#send(FrameKind.step, null, words),
      stats: words => this.#send(FrameKind.heartbeat, null, words),
      trace: trace => this.#send(FrameKind.trace, null, traceWords(trace)),
      failure: failure => this.#send(FrameKind.failure, failure),
      closed: () => void this.#stream.end(this.#onGone),
    });
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
    stream.on('data', (piece: Buffer) => this.#receive(piece));
    stream.on('drain', () => this.#feed.flush());
    stream.on('error', onGone);
    stream.on('close', onGone);
  }

  #receive(piece: Buffer): void {
    for (const frame of this.#reader.push(piece)) this.#take(frame);
  }

  #take({ kind, head, words }: Frame): void {
    switch (kind) {
      case FrameKind.boot:
        void this.#boot(head as BootHead);
        break;
      case FrameKind.add:
        this.#feed.add(decodeAsk(head, words));
        break;
      case FrameKind.abort: {
        const { request, sequence } = head as AbortHead;
        this.#feed.abort(request, sequence);
        break;
      }
      case FrameKind.call:
        this.#lastCall = this.#lastCall.then(() => this.#call(head as CallHead));
    }
  }

  async #boot({ options, seed, device }: BootHead): Promise<void> {
    try {
      const { openDevice = nodeRuntime.openDevice } = this.#options;
      this.#engine = await openEngine(
        { ...options, seed: BigInt(seed) },
        {
          device,
          runtime: { ...nodeRuntime, openDevice },
          observer: this.#feed,
          onStage: (name, ms) => this.#send(FrameKind.stage, { name, ms }),
          onLoading: report => this.#send(FrameKind.loading, report),
        },
      );
      const { loaded, description } = this.#engine;
      const { asyncLLM, eosTokenIds, generationConfig } = loaded;
      this.#feed.engine = asyncLLM;
      const ready: Ready = { limits: asyncLLM.limits, eosTokenIds: [...eosTokenIds], generationConfig, description };
      this.#send(FrameKind.ready, ready);
      void ranksEnded.then(error => this.#send(FrameKind.over, { error: toErrorData(error) }));
    } catch (error) {
      this.#send(FrameKind.refused, { error: toErrorData(error) });
    }
  }

  async #call({
    id,
    method,
    discardWeights = false,
    isWatched = false,
    loraName = '',
    loraPath = '',
  }: CallHead): Promise<void> {
    try {
      if (method === 'dispose') await this.#dispose();
      else if (method === 'watch') this.#feed.gate.isOpen = isWatched;
      else if (method === 'addLora') await this.#engine!.loaded.asyncLLM.addLora({ loraName, loraPath });
      else if (method === 'removeLora') await this.#engine!.loaded.asyncLLM.removeLora(loraName);
      else if (method === 'sleep') await this.#engine!.loaded.asyncLLM.sleep({ discardWeights });
      else await this.#engine!.loaded.asyncLLM[method]();
      this.#send(FrameKind.result, { id, error: null });
    } catch (error) {
      this.#send(FrameKind.result, { id, error: toErrorData(error) });
    }
    if (method === 'dispose') this.#stream.end(this.#onGone);
  }

  async #dispose(): Promise<void> {
    clearInterval(this.#heartbeat);
    await this.#engine?.close();
  }

  /** Says that this thread lives, and how its engine is. */
  #beat(): void {
    if (this.#engine === null || this.#stream.writableLength > MAX_BACKLOG) return;
    const writer = new StepWriter();
    writer.stats(this.#feed.stats());
    this.#send(FrameKind.heartbeat, null, writer.take());
  }

  #send(kind: FrameKind, head: unknown, words?: Uint32Array): void {
    const write = (frame: Buffer) => void this.#stream.write(frame);
    const frame = encodeFrame(kind, head, words);
    if (this.#options.send === undefined) write(frame);
    else this.#options.send(frame, write);
  }
}
