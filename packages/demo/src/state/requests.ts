import { type Signal, signal } from '@preact/signals';
import type { FinishReason, SamplingParams, StepTrace } from '@quire/core';
import type { FromEngine, Prompt } from '../engine/messages.ts';

/** One completion of a request. */
export interface CompletionView {
  text: string;
  numTokens: number;
  finishReason: FinishReason | null;
}

/** A request as the page shows it. */
export interface RequestView {
  readonly id: string;
  /** Of its colour. */
  readonly hue: number;
  /** Counts from 1; shown beside the colour. */
  readonly number: number;
  readonly prompt: string;
  /** Of this page; others are of other clients of a server, and only what a trace tells is known of them. */
  readonly isOwn: boolean;
  readonly n: number;
  /** Tokens that a completion may have; null where that is not known. */
  readonly maxTokens: number | null;
  /** performance.now() when it was sent. */
  readonly sent: number;
  completions: CompletionView[];
  numPromptTokens: number;
  timeToFirstToken: number | null;
  /** performance.now() of the first and the last output. */
  firstOutput: number | null;
  lastOutput: number;
  finished: boolean;
  error: string | null;
}

const GOLDEN_ANGLE = 137.508;

/** Degrees: a golden angle from the request before, so that neighbours differ. */
export function hueOf(number: number): number {
  return (number * GOLDEN_ANGLE) % 360;
}

/** Finished requests that stay on the page. */
const KEPT = 32;

/** All requests of the page, oldest first. `version` changes with every change to any of them. */
export class Requests {
  readonly version: Signal<number> = signal(0);
  readonly #views = new Map<string, RequestView>();
  /** Not shown any more, and not finished: a conversation may hold them. */
  readonly #hidden = new Map<string, RequestView>();
  /** Names in the order in which they are shown. */
  #places: string[] = [];
  /** Those that ran in the last step. */
  #running: ReadonlySet<string> = new Set();
  #count = 0;

  get all(): RequestView[] {
    return [...this.#views.values()];
  }

  /**
   * As they are shown: one that begins to run takes the first place of one that has ended. So those that run are on top, and none of
   * them moves when another ends.
   */
  get placed(): RequestView[] {
    return this.#places.map(id => this.#views.get(id)!);
  }

  get(id: string): RequestView | undefined {
    return this.#views.get(id);
  }

  /** The number that is shown, or 0 where the request is not. */
  numberOf(id: string): number {
    return this.#views.get(id)?.number ?? 0;
  }

  get numUnfinished(): number {
    return this.all.filter(({ finished }) => !finished).length;
  }

  add(id: string, prompt: Prompt, params: SamplingParams): RequestView {
    const text = 'text' in prompt ? prompt.text : (prompt.messages.at(-1)?.content ?? '');
    return this.#add({ id, prompt: text, n: params.n ?? 1, maxTokens: params.maxTokens ?? null, isOwn: true });
  }

  #add(known: Pick<RequestView, 'id' | 'prompt' | 'n' | 'maxTokens' | 'isOwn'>): RequestView {
    const number = ++this.#count;
    const view: RequestView = {
      ...known,
      number,
      hue: hueOf(number),
      sent: performance.now(),
      completions: Array.from({ length: known.n }, () => ({ text: '', numTokens: 0, finishReason: null })),
      numPromptTokens: 0,
      timeToFirstToken: null,
      firstOutput: null,
      lastOutput: 0,
      finished: false,
      error: null,
    };
    this.#views.set(view.id, view);
    this.#places.push(view.id);
    this.#forgetOldest();
    this.version.value++;
    return view;
  }

  output(message: Extract<FromEngine, { kind: 'output' }>): void {
    const view = this.#find(message.id);
    if (view === undefined) return;
    view.numPromptTokens = message.numPromptTokens;
    view.timeToFirstToken = message.timeToFirstToken;
    view.lastOutput = performance.now();
    view.firstOutput ??= view.lastOutput;
    view.finished = message.finished;
    view.error = message.error;
    for (const { index, text, numTokens, finishReason } of message.outputs) {
      const completion = view.completions[index];
      if (completion === undefined) continue;
      completion.text += text;
      completion.numTokens += numTokens;
      completion.finishReason = finishReason;
    }
    if (view.finished) this.#hidden.delete(message.id);
    this.version.value++;
  }

  refuse(id: string, message: string): void {
    const view = this.#find(id);
    if (view === undefined) return;
    view.finished = true;
    view.error = message;
    this.version.value++;
  }

  /** The engine is gone, and what ran on it. */
  end(): void {
    for (const view of [...this.#views.values(), ...this.#hidden.values()]) abort(view);
    this.#hidden.clear();
  }

  /** What the steps of the engine tell, also of requests of other clients. `prefix`: what names of this page's own begin with. */
  follow({ sequences }: StepTrace, prefix: string): void {
    const [seen, running] = [new Set<string>(), new Set<string>()];
    for (const { requestId: id, index, numPromptTokens, numTokens, status } of sequences) {
      seen.add(id);
      const known = this.#views.get(id);
      if (known === undefined && id.startsWith(prefix)) continue;
      const view = known ?? this.#add({ id, prompt: `of another client (${id})`, n: 1, maxTokens: null, isOwn: false });
      view.numPromptTokens = numPromptTokens;
      if (status === 'running') running.add(id);
      if (view.isOwn) continue;
      view.finished = false;
      while (view.completions.length <= index) view.completions.push({ text: '', numTokens: 0, finishReason: null });
      view.completions[index] = { text: '', numTokens: numTokens - numPromptTokens, finishReason: null };
    }
    for (const id of running) if (!this.#running.has(id)) this.#promote(id);
    this.#running = running;
    for (const view of this.#views.values()) if (!view.isOwn && !seen.has(view.id)) view.finished = true;
    this.#forgetOldest();
    this.version.value++;
  }

  /** Nothing runs on a server. */
  followIdle(): void {
    for (const view of this.#views.values()) if (!view.isOwn) view.finished = true;
    this.version.value++;
  }

  /** Shows none any more. Those that run go on, and are known to who holds them. */
  clear(): void {
    for (const [id, view] of this.#views) if (!view.finished) this.#hidden.set(id, view);
    this.#views.clear();
    this.#places = [];
    this.#count = 0;
    this.version.value++;
  }

  #find(id: string): RequestView | undefined {
    return this.#views.get(id) ?? this.#hidden.get(id);
  }

  #promote(id: string): void {
    const at = this.#places.indexOf(id);
    const free = this.#places.findIndex(other => this.#views.get(other)!.finished);
    if (free === -1 || free > at) return;
    this.#places[at] = this.#places[free]!;
    this.#places[free] = id;
  }

  #forgetOldest(): void {
    const finished = this.all.filter(view => view.finished);
    if (finished.length <= KEPT) return;
    for (const { id } of finished.slice(0, finished.length - KEPT)) this.#views.delete(id);
    this.#places = this.#places.filter(id => this.#views.has(id));
  }
}

function abort(view: RequestView): void {
  if (view.finished) return;
  view.finished = true;
  for (const completion of view.completions) completion.finishReason ??= 'abort';
}

/** Tokens per second of a request since its first output; null until there are two. */
export function speedOf({ completions, firstOutput, lastOutput }: RequestView): number | null {
  const tokens = completions.reduce((sum, { numTokens }) => sum + numTokens, 0);
  if (firstOutput === null || lastOutput <= firstOutput || tokens < 2) return null;
  return ((tokens - 1) * 1000) / (lastOutput - firstOutput);
}
