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
  /** Hue in degrees: a golden angle from the one before, so that neighbours differ. */
  readonly hue: number;
  /** Counts from 1; shown beside the colour. */
  readonly number: number;
  readonly prompt: string;
  /** Of this page; others are of other clients of a server, and only what a trace tells is known of them. */
  readonly isOwn: boolean;
  readonly n: number;
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
/** Finished requests that stay on the page. */
const KEPT = 24;

/** All requests of the page, oldest first. `version` changes with every change to any of them. */
export class Requests {
  readonly version: Signal<number> = signal(0);
  readonly #views = new Map<string, RequestView>();
  /** Not shown any more, and not finished: a conversation may hold them. */
  readonly #hidden = new Map<string, RequestView>();
  #count = 0;

  get all(): RequestView[] {
    return [...this.#views.values()];
  }

  get(id: string): RequestView | undefined {
    return this.#views.get(id);
  }

  get numUnfinished(): number {
    return this.all.filter(({ finished }) => !finished).length;
  }

  add(id: string, prompt: Prompt, params: SamplingParams): RequestView {
    const text = 'text' in prompt ? prompt.text : (prompt.messages.at(-1)?.content ?? '');
    return this.#add(id, text, params.n ?? 1, true);
  }

  #add(id: string, prompt: string, n: number, isOwn: boolean): RequestView {
    const number = ++this.#count;
    const view: RequestView = {
      id,
      number,
      hue: (number * GOLDEN_ANGLE) % 360,
      prompt,
      isOwn,
      n,
      sent: performance.now(),
      completions: Array.from({ length: n }, () => ({ text: '', numTokens: 0, finishReason: null })),
      numPromptTokens: 0,
      timeToFirstToken: null,
      firstOutput: null,
      lastOutput: 0,
      finished: false,
      error: null,
    };
    this.#views.set(id, view);
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

  /** Requests of other clients, from the steps of the engine. `prefix`: what names of this page's own begin with. */
  follow({ sequences }: StepTrace, prefix: string): void {
    const seen = new Set<string>();
    for (const { requestId: id, index, numPromptTokens, numTokens } of sequences) {
      if (id.startsWith(prefix)) continue;
      seen.add(id);
      const view = this.#views.get(id) ?? this.#add(id, `of another client (${id})`, 1, false);
      if (view.isOwn) continue;
      view.finished = false;
      view.numPromptTokens = numPromptTokens;
      while (view.completions.length <= index) view.completions.push({ text: '', numTokens: 0, finishReason: null });
      view.completions[index] = { text: '', numTokens: numTokens - numPromptTokens, finishReason: null };
    }
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
    this.#count = 0;
    this.version.value++;
  }

  #find(id: string): RequestView | undefined {
    return this.#views.get(id) ?? this.#hidden.get(id);
  }

  #forgetOldest(): void {
    const finished = this.all.filter(view => view.finished);
    for (const { id } of finished.slice(0, Math.max(0, finished.length - KEPT))) this.#views.delete(id);
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
