import { type Signal, signal } from '@preact/signals';
import type { ChatMessage, SamplingParams } from '@quire/core';
import type { Prompt } from '../engine/messages.ts';
import type { Requests, RequestView } from './requests.ts';

/** A turn of the conversation: what was said, and the request that answers it. */
export interface Turn {
  readonly user: string;
  readonly answer: RequestView;
}

export interface ChatSettings {
  readonly system: string;
  readonly temperature: number;
  readonly topP: number;
  readonly maxTokens: number;
  readonly seed: string;
}

/** What a conversation needs of a session. */
interface Answers {
  readonly requests: Requests;
  generate(prompt: Prompt, params: SamplingParams): { id: string };
  abort(id: string): void;
}

/** What was said, however often the page shows other things or empties its list of requests. */
export class Conversation {
  readonly turns: Signal<readonly Turn[]> = signal([]);
  readonly settings: Signal<ChatSettings> = signal({ system: '', temperature: 0, topP: 1, maxTokens: 128, seed: '' });
  readonly #session: Answers;

  constructor(session: Answers) {
    this.#session = session;
  }

  get isRunning(): boolean {
    return this.turns.value.at(-1)?.answer.finished === false;
  }

  say(user: string): void {
    this.#ask(this.turns.value, user);
  }

  /** Asks the last question once more. */
  again(): void {
    const last = this.turns.value.at(-1);
    if (last !== undefined) this.#ask(this.turns.value.slice(0, -1), last.user);
  }

  stop(): void {
    const last = this.turns.value.at(-1);
    if (last !== undefined) this.#session.abort(last.answer.id);
  }

  clear(): void {
    this.turns.value = [];
  }

  #ask(before: readonly Turn[], user: string): void {
    const history = before.flatMap(turn => [
      { role: 'user', content: turn.user },
      { role: 'assistant', content: turn.answer.completions[0]?.text ?? '' },
    ]);
    const messages = [...systemOf(this.settings.value), ...history, { role: 'user', content: user }];
    const { id } = this.#session.generate({ messages }, paramsOf(this.settings.value));
    this.turns.value = [...before, { user, answer: this.#session.requests.get(id)! }];
  }
}

function systemOf({ system }: ChatSettings): ChatMessage[] {
  return system.trim() === '' ? [] : [{ role: 'system', content: system }];
}

function paramsOf({ temperature, topP, maxTokens, seed }: ChatSettings): SamplingParams {
  return { temperature, topP: temperature === 0 ? 1 : topP, maxTokens, ...(seed === '' ? {} : { seed: Number(seed) }) };
}
