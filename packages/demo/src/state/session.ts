import { type Signal, signal } from '@preact/signals';
import type { SamplingParams } from '@quire/core';
import type { OpName } from '@quire/core/contract';
import type { EngineEnd } from '../engine/engine-end.ts';
import type {
  CrosscheckRow,
  EngineInfo,
  EngineSettings,
  FromEngine,
  ModelChoice,
  Pace,
  Prompt,
  ToEngine,
} from '../engine/messages.ts';
import { Conversation } from './conversation.ts';
import { Recorder, type Recording } from './recording.ts';
import { Requests } from './requests.ts';
import { Traces } from './traces.ts';

export type Status =
  | { readonly kind: 'idle' }
  | { readonly kind: 'loading'; readonly what: string; readonly loaded: number; readonly total: number | null }
  | { readonly kind: 'ready' }
  | { readonly kind: 'replaying' }
  | { readonly kind: 'locked' }
  | { readonly kind: 'disconnected'; readonly message: string }
  | { readonly kind: 'failed'; readonly message: string };

export interface CrosscheckState {
  readonly running: boolean;
  readonly broken: boolean;
  readonly rows: readonly CrosscheckRow[];
  readonly cases: number;
  readonly failed: number;
  readonly error: string | null;
}

const NO_CROSSCHECK: CrosscheckState = { running: false, broken: false, rows: [], cases: 0, failed: 0, error: null };

/** The page's side of the engine: what was asked of it and what it told. All views read this, and nothing else. */
export class Session {
  readonly status: Signal<Status> = signal({ kind: 'idle' });
  readonly info: Signal<EngineInfo | null> = signal(null);
  readonly pace: Signal<Pace> = signal({ paused: false, delay: 60 });
  readonly crosscheck: Signal<CrosscheckState> = signal(NO_CROSSCHECK);
  /** Devices that were lost and replaced, and failed steps that were survived. */
  readonly recoveries: Signal<number> = signal(0);
  readonly requests = new Requests();
  readonly traces = new Traces();
  readonly recorder = new Recorder();
  readonly conversation = new Conversation(this);
  readonly #engine: EngineEnd;
  /** Names of requests are this page's own, also among those of others on a server. */
  readonly #prefix = `page-${Math.random().toString(36).slice(2, 10)}-`;
  readonly #finished = new Map<string, () => void>();
  #nextId = 0;
  #replay: ReturnType<typeof setTimeout> | undefined;

  constructor(end: EngineEnd) {
    this.#engine = end;
    end.listen(message => this.#receive(message));
  }

  get kind(): EngineEnd['kind'] {
    return this.#engine.kind;
  }

  /** Of the engine's OpenAI API. */
  get apiUrl(): URL {
    return this.#engine.apiUrl;
  }

  /** Reaches the engine's OpenAI API wherever it is. */
  get fetch(): typeof fetch {
    return this.#engine.fetch;
  }

  /** The key that a locked server wants. */
  unlock(key: string): void {
    this.status.value = { kind: 'loading', what: 'server', loaded: 0, total: null };
    this.#engine.unlock?.(key);
  }

  load(model: ModelChoice, settings: EngineSettings): void {
    this.#reset();
    this.info.value = null;
    const what = this.kind === 'tab' ? 'worker' : 'server';
    this.status.value = { kind: 'loading', what, loaded: 0, total: null };
    this.#send({ kind: 'load', model, settings });
  }

  /** Resolves when the request has ended, however it did. */
  generate(prompt: Prompt, params: SamplingParams): { id: string; ended: Promise<void> } {
    const id = `${this.#prefix}${this.#nextId++}`;
    this.requests.add(id, prompt, params);
    this.recorder.add({ kind: 'request', id, prompt, params });
    const ended = new Promise<void>(resolve => this.#finished.set(id, resolve));
    this.#send({ kind: 'generate', id, prompt, params });
    return { id, ended };
  }

  abort(id: string): void {
    this.#send({ kind: 'abort', id });
  }

  abortAll(): void {
    for (const { id, finished, isOwn } of this.requests.all) if (isOwn && !finished) this.abort(id);
  }

  setPace(pace: Pace): void {
    this.pace.value = pace;
    if (!pace.paused) this.traces.scrubbed.value = null;
    this.#send({ kind: 'pace', pace });
  }

  /** The engine is paused; or what is shown of one that goes on. */
  get isHeld(): boolean {
    return this.kind === 'tab' ? this.pace.value.paused : this.traces.scrubbed.value !== null;
  }

  togglePause(): void {
    if (this.kind === 'tab') this.setPace({ ...this.pace.value, paused: !this.pace.value.paused });
    else this.traces.scrubbed.value = this.isHeld ? null : this.traces.length - 1;
  }

  /** Shows an earlier step, and pauses. */
  lookAt(index: number): void {
    const newest = this.traces.length - 1;
    if (this.kind === 'tab' && !this.pace.value.paused) this.setPace({ ...this.pace.value, paused: true });
    this.traces.scrubbed.value = this.kind === 'tab' && index >= newest ? null : index;
  }

  /** One step of a paused engine. */
  step(): void {
    this.traces.scrubbed.value = null;
    this.#send({ kind: 'step' });
  }

  /** Empties the page and the prefix cache, so that a scenario begins from nothing. */
  clear(): void {
    this.abortAll();
    this.requests.clear();
    this.traces.clear();
    this.recorder.clear();
    this.#send({ kind: 'forget' });
  }

  loseDevice(): void {
    this.#send({ kind: 'loseDevice' });
  }

  runCrosscheck(op: OpName | null, broken: boolean): void {
    this.crosscheck.value = { ...NO_CROSSCHECK, running: true, broken };
    this.#send({ kind: 'crosscheck', op, broken });
  }

  /** Shows a recording as if it happened now. The engine, if there is one, is left alone. */
  replay({ info, events }: Recording): void {
    this.#reset();
    this.info.value = info;
    this.status.value = { kind: 'replaying' };
    const start = performance.now();
    const play = (at: number) => {
      const next = events[at];
      if (next === undefined) return;
      const wait = next[0] - (performance.now() - start);
      this.#replay = setTimeout(
        () => {
          const [, event] = next;
          if (event.kind === 'request') this.requests.add(event.id, event.prompt, event.params);
          else this.#receive(event);
          play(at + 1);
        },
        Math.max(0, wait),
      );
    };
    play(0);
  }

  #reset(): void {
    clearTimeout(this.#replay);
    for (const end of this.#finished.values()) end();
    this.#finished.clear();
    this.requests.end();
    this.requests.clear();
    this.traces.clear();
    this.recorder.clear();
    this.recoveries.value = 0;
  }

  #send(message: ToEngine): void {
    this.#engine.send(message);
  }

  #receive(message: FromEngine): void {
    switch (message.kind) {
      case 'loading':
        this.status.value = message;
        break;
      case 'ready':
        this.info.value = message.info;
        this.status.value = { kind: 'ready' };
        this.#send({ kind: 'pace', pace: this.pace.value });
        break;
      case 'failed':
      case 'locked':
      case 'disconnected':
        this.status.value = message;
        break;
      case 'idle':
        this.requests.followIdle();
        break;
      case 'trace':
        this.recorder.add(message);
        this.requests.follow(message.trace, this.#prefix);
        this.traces.push(message.trace);
        break;
      case 'output':
        this.recorder.add(message);
        this.requests.output(message);
        if (message.finished) this.#end(message.id);
        break;
      case 'refused':
        this.recorder.add(message);
        this.requests.refuse(message.id, message.message);
        this.#end(message.id);
        break;
      case 'recovered':
        this.recoveries.value = message.recoveries;
        break;
      default:
        this.#receiveCrosscheck(message);
    }
  }

  #receiveCrosscheck(message: Extract<FromEngine, { kind: 'crosscheck' | 'crosschecked' | 'crosscheckFailed' }>): void {
    const state = this.crosscheck.value;
    if (message.kind === 'crosscheck') this.crosscheck.value = { ...state, rows: [...state.rows, message.row] };
    else if (message.kind === 'crosscheckFailed') {
      this.crosscheck.value = { ...state, running: false, error: message.message };
    } else this.crosscheck.value = { ...state, running: false, cases: message.cases, failed: message.failed };
  }

  #end(id: string): void {
    this.#finished.get(id)?.();
    this.#finished.delete(id);
  }
}
