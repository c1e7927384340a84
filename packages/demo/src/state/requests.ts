import { type Signal, signal } from '@preact/signals';
import type { FinishReason, SamplingParams } from '@quire/core';
import type { FromWorker, Prompt } from '../engine/messages.ts';

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
    const number = ++this.#count;
    const n = params.n ?? 1;
    const view: RequestView = {
      id,
      number,
      hue: (number * GOLDEN_ANGLE) % 360,
      prompt: 'text' in prompt ? prompt.text : (prompt.messages.at(-1)?.content ?? ''),
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

  output(message: Extract<FromWorker, { kind: 'output' }>): void {
    const view = this.#views.get(message.id);
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
    this.version.value++;
  }

  refuse(id: string, message: string): void {
    const view = this.#views.get(id);
    if (view === undefined) return;
    view.finished = true;
    view.error = message;
    this.version.value++;
  }

  clear(): void {
    this.#views.clear();
    this.#count = 0;
    this.version.value++;
  }

  #forgetOldest(): void {
    const finished = this.all.filter(view => view.finished);
    for (const { id } of finished.slice(0, Math.max(0, finished.length - KEPT))) this.#views.delete(id);
  }
}

/** Tokens per second of a request since its first output; null until there are two. */
export function speedOf({ completions, firstOutput, lastOutput }: RequestView): number | null {
  const tokens = completions.reduce((sum, { numTokens }) => sum + numTokens, 0);
  if (firstOutput === null || lastOutput <= firstOutput || tokens < 2) return null;
  return ((tokens - 1) * 1000) / (lastOutput - firstOutput);
}
