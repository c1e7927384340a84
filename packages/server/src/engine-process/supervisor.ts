import { EngineClosedError, EngineError } from '@quire/core';
import type { OnTransfer } from '../node/transfer-progress.ts';
import { fromErrorData } from './errors.ts';
import { type Frame, FrameKind } from './frames.ts';
import { EngineLink } from './link.ts';
import {
  type BootHead,
  type CallHead,
  checkHead,
  type EngineMethod,
  loadingSchema,
  type Ready,
  readySchema,
  refusedSchema,
  resultSchema,
  stageSchema,
} from './messages.ts';
import { RestartPolicy } from './restart-policy.ts';

/** An engine that is told to end, and has not, is ended. */
const DISPOSAL_MS = 10_000;

export interface SupervisorOptions {
  readonly entry: URL;
  /** How long an engine may be silent before it is taken for dead. */
  patienceMs(ready: Ready): number;
  readonly boot: BootHead;
  /** Whether another engine can take the place of one that ended. */
  readonly restarts: boolean;
  /** Told of each stage of a start that is done. */
  onStage(name: string, ms: number): void;
  /** Told how much of the weights has been read. */
  onLoading: OnTransfer;
}

/** Who is told of the engines. */
export interface SupervisorHooks {
  /** An engine takes requests: the first, or another one. */
  onReady(ready: Ready): void;
  /** What an engine says of its requests. */
  onFrame(frame: Frame): void;
  /** The engine ended. `wasOpen`: it had taken requests. */
  onEnded(reason: string, wasOpen: boolean): void;
  /** No further engine is started. */
  onGivenUp(error: Error): void;
}

/** Keeps an engine process running: starts another one when it ends, with longer and longer pauses while that leads nowhere. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #policy = new RestartPolicy();
  readonly #calls = new Map<number, { resolve(): void; reject(error: Error): void }>();
  #link: EngineLink | null = null;
  #isDisposed = false;
  #numCalls = 0;
  #pause: NodeJS.Timeout | null = null;
  /** Settles the first start, which is not tried again. */
  #first: { resolve(ready: Ready): void; reject(error: Error): void } | null = null;
  #hooks: SupervisorHooks | null = null;
  #ready: Ready | null = null;
  #refusal: Error | null = null;
  #onGone: () => void = () => {};

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** An engine takes what is sent. */
  get isOpen(): boolean {
    return this.#ready !== null;
  }

  /** The process that runs now. */
  get pid(): number | undefined {
    return this.#link?.pid;
  }

  /** Milliseconds since the engine last said something; endless while there is none. */
  get silence(): number {
    return this.isOpen ? this.#link!.silence : Number.POSITIVE_INFINITY;
  }

  get numRestarts(): number {
    return this.#policy.count;
  }

  /** Resolves when the first engine is open. Rejects with what it met, or EngineError when it ended. */
  start(): Promise<Ready> {
    return new Promise((resolve, reject) => {
      this.#first = { resolve, reject };
      this.#spawn();
    });
  }

  /** Whom to tell from now on. Before there are requests, nobody need know. */
  follow(hooks: SupervisorHooks): void {
    this.#hooks = hooks;
    if (this.#ready !== null) hooks.onReady(this.#ready);
  }

  send(kind: FrameKind, head: unknown, words?: Uint32Array): void {
    if (this.isOpen) this.#link!.send(kind, head, words);
  }

  /** Rejects with what the engine met, and with EngineError when it ends before it answers. */
  call(method: EngineMethod, options: Omit<CallHead, 'id' | 'method'> = {}): Promise<void> {
    if (!this.isOpen) return Promise.reject(new EngineError('The engine is being started: try again.'));
    const id = this.#numCalls++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.send(FrameKind.call, { id, method, ...options } satisfies CallHead);
    });
  }

  /** Ends the engine at once; another one is started. */
  kill(reason: string): void {
    this.#link?.kill(reason);
  }

  /** The engine computed something: what ended others before it is over. */
  progressed(): void {
    this.#policy.progressed();
  }

  /** Ends the engine, in order where it can. */
  async dispose(): Promise<void> {
    this.#isDisposed = true;
    if (this.#pause !== null) clearTimeout(this.#pause);
    const link = this.#link;
    if (link === null) return;
    const gone = new Promise<void>(resolve => {
      this.#onGone = resolve;
    });
    const timer = setTimeout(() => link.kill('it did not end in time'), DISPOSAL_MS);
    if (this.isOpen) this.call('dispose').catch(() => {});
    else link.kill('it is not needed any more');
    await gone;
    clearTimeout(timer);
  }

  #spawn(): void {
    this.#refusal = null;
    const link = new EngineLink({
      entry: this.#options.entry,
      onFrame: frame => this.#receive(link, frame),
      onGone: reason => this.#ended(reason),
    });
    this.#link = link;
    link.send(FrameKind.boot, this.#options.boot);
  }

  #receive(link: EngineLink, frame: Frame): void {
    const { kind, head } = frame;
    switch (kind) {
      case FrameKind.stage: {
        const { name, ms } = checkHead(stageSchema, head, 'stage');
        this.#options.onStage(name, ms);
        break;
      }
      case FrameKind.loading:
        this.#options.onLoading(checkHead(loadingSchema, head, 'loading'));
        break;
      case FrameKind.refused:
        this.#refusal = fromErrorData(checkHead(refusedSchema, head, 'refused').error);
        link.kill(`it could not be opened: ${this.#refusal.message}`);
        break;
      case FrameKind.over:
        this.#refusal = fromErrorData(checkHead(refusedSchema, head, 'over').error);
        link.kill(this.#refusal.message);
        break;
      case FrameKind.ready:
        this.#opened(link, checkHead(readySchema, head, 'ready'));
        break;
      case FrameKind.result:
        this.#result(head);
        break;
      default:
        this.#hooks?.onFrame(frame);
    }
  }

  #opened(link: EngineLink, ready: Ready): void {
    this.#ready = ready;
    link.watch(this.#options.patienceMs(ready));
    this.#hooks?.onReady(ready);
    this.#first?.resolve(ready);
    this.#first = null;
  }

  #result(head: unknown): void {
    const { id, error } = checkHead(resultSchema, head, 'result');
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error === null) call?.resolve();
    else call?.reject(fromErrorData(error));
  }

  #ended(reason: string): void {
    const wasOpen = this.isOpen;
    this.#ready = null;
    this.#link = null;
    const lost = new EngineError(`The engine process ended before it answered: ${reason}.`);
    for (const { reject } of this.#calls.values()) reject(this.#isDisposed ? new EngineClosedError() : lost);
    this.#calls.clear();
    this.#onGone();
    if (this.#isDisposed) return;
    if (this.#first !== null) {
      this.#first.reject(this.#refusal ?? new EngineError(`The engine process ended while it started: ${reason}.`));
      this.#first = null;
      this.#isDisposed = true;
      return;
    }
    this.#hooks?.onEnded(reason, wasOpen);
    const pause = this.#policy.ended(wasOpen);
    if (pause === null || !this.#options.restarts) {
      this.#isDisposed = true;
      const ended = `The engine ended, and no other can take its place: ${this.#refusal?.message ?? `${reason}.`}`;
      const again = `The engine ended again and again, the last time because ${reason}.`;
      this.#hooks?.onGivenUp(new EngineError(pause === null ? again : ended));
    } else {
      this.#pause = setTimeout(() => this.#spawn(), pause);
    }
  }
}
