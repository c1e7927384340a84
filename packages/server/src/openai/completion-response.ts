import type { CompletionOutput, RequestOutput, Tokenizer } from '@quire/core';
import { ChoiceCursor, type ChoiceDelta } from './choice-cursor.ts';
import { ChunkWriter } from './chunks.ts';
import type { CompletionRequest } from './completion-request.ts';
import { CompletionLogprobsWriter, promptLogprobs } from './logprobs.ts';
import type { PromptInput, StreamFormat } from './run.ts';
import type { StreamChoice } from './stream-options.ts';
import { usageOf } from './usage.ts';

export interface CompletionAnswer {
  id: string;
  model: string;
  request: CompletionRequest;
  prompts: readonly PromptInput[];
  streaming: StreamChoice;
}

/** What one choice has sent. */
interface Choice {
  cursor: ChoiceCursor;
  logprobs: CompletionLogprobsWriter;
  started: boolean;
}

/** The answer to a completion request, whole or in chunks. Choice `i` of prompt `p` has index `p * n + i`. */
export class CompletionResponse implements StreamFormat {
  readonly #tokenizer: Tokenizer;
  readonly #answer: CompletionAnswer;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #chunks: ChunkWriter;
  readonly #choices = new Map<number, Choice>();
  readonly #latest: RequestOutput[] = [];

  constructor(tokenizer: Tokenizer, answer: CompletionAnswer) {
    this.#tokenizer = tokenizer;
    this.#answer = answer;
    const head = { id: answer.id, object: 'text_completion', created: this.#created, model: answer.model } as const;
    this.#chunks = new ChunkWriter(head, answer.streaming.includeUsage);
  }

  opening(): string {
    return '';
  }

  output(promptIndex: number, output: RequestOutput): string {
    this.#latest[promptIndex] = output;
    return output.outputs.map(choice => this.#chunk(promptIndex, output, choice)).join('');
  }

  closing(): string {
    return this.#answer.streaming.includeUsage ? this.#chunks.usage(usageOf(this.#latest)) : '';
  }

  /** The body of an answer that is not streamed. */
  whole(outputs: readonly RequestOutput[]): unknown {
    const { id, model } = this.#answer;
    const choices = outputs.flatMap((output, p) => output.outputs.map(choice => this.#whole(p, output, choice)));
    return { id, object: 'text_completion', created: this.#created, model, choices, usage: usageOf(outputs) };
  }

  #whole(promptIndex: number, output: RequestOutput, choice: CompletionOutput): unknown {
    const body = this.#choice(promptIndex, output, choice);
    if (body === null || typeof this.#answer.request.prompt_logprobs !== 'number') return body;
    return { ...body, prompt_logprobs: promptLogprobs(this.#tokenizer, output.promptLogprobs ?? []) };
  }

  #chunk(promptIndex: number, output: RequestOutput, choice: CompletionOutput): string {
    const body = this.#choice(promptIndex, output, choice);
    if (body === null) return '';
    const usage = this.#answer.streaming.continuousUsage ? usageOf(this.#latest) : null;
    return this.#chunks.chunk(JSON.stringify(body), usage);
  }

  #choice(promptIndex: number, output: RequestOutput, choice: CompletionOutput): Record<string, unknown> | null {
    const index = promptIndex * output.outputs.length + choice.index;
    const state = this.#stateOf(index);
    const delta = state.cursor.advance(choice);
    if (delta === null) return null;
    const echo = this.#answer.request.echo === true && !state.started;
    const body = {
      index,
      text: (echo ? this.#promptText(promptIndex, output) : '') + delta.text,
      logprobs: this.#logprobs(state, delta, echo ? output : null),
      finish_reason: delta.finishReason,
      stop_reason: delta.stopReason,
      ...this.#tokenIds(state, output, delta),
    };
    state.started = true;
    return body;
  }

  #stateOf(index: number): Choice {
    const skipSpecialTokens = this.#answer.request.skip_special_tokens !== false;
    const state = this.#choices.get(index) ?? {
      cursor: new ChoiceCursor(),
      logprobs: new CompletionLogprobsWriter(this.#tokenizer, skipSpecialTokens),
      started: false,
    };
    this.#choices.set(index, state);
    return state;
  }

  #promptText(promptIndex: number, output: RequestOutput): string {
    return this.#answer.prompts[promptIndex]?.prompt ?? this.#tokenizer.decode(output.promptTokenIds);
  }

  #logprobs(state: Choice, delta: ChoiceDelta, echoed: RequestOutput | null): unknown {
    if (delta.logprobs === null) return null;
    const ids = [...(echoed?.promptTokenIds ?? []), ...delta.tokenIds];
    return state.logprobs.take(ids, [...(echoed?.promptLogprobs ?? []), ...delta.logprobs]);
  }

  #tokenIds(state: Choice, output: RequestOutput, delta: ChoiceDelta): Record<string, unknown> {
    if (this.#answer.request.return_token_ids !== true) return {};
    const prompt = state.started ? {} : { prompt_token_ids: output.promptTokenIds };
    return { ...prompt, token_ids: delta.tokenIds };
  }
}
