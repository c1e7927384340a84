import type { CompletionOutput, RequestOutput } from '@quire/core';
import type { ServingTokenizer } from '../app/context.ts';
import type { ChatRequest } from './chat-request.ts';
import { type ChoiceDelta, ChoiceDeltas } from './choice-deltas.ts';
import { ChunkWriter, DONE } from './chunks.ts';
import { chatLogprobs, promptLogprobs } from './logprobs.ts';
import { choicesPerPrompt, type StreamFormat } from './run.ts';
import type { StreamChoice } from './stream-options.ts';
import { UsageCounter } from './usage.ts';

export interface ChatAnswer {
  id: string;
  model: string;
  request: ChatRequest;
  streaming: StreamChoice;
}

/** The answer to a chat request, whole or in chunks. */
export class ChatResponse implements StreamFormat {
  readonly #tokenizer: ServingTokenizer;
  readonly #answer: ChatAnswer;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #chunks: ChunkWriter;
  readonly #choices: ChoiceDeltas[];
  readonly #usage = new UsageCounter();
  #promptTokenIds: readonly number[] = [];

  constructor(tokenizer: ServingTokenizer, answer: ChatAnswer) {
    this.#tokenizer = tokenizer;
    this.#answer = answer;
    const { id, model, request, streaming } = answer;
    this.#choices = Array.from({ length: choicesPerPrompt(request.n) }, () => new ChoiceDeltas());
    const head = { id, object: 'chat.completion.chunk', created: this.#created, model } as const;
    this.#chunks = new ChunkWriter(head, streaming.includeUsage);
  }

  /** One chunk per choice that names the role. */
  opening(): string {
    const delta = { role: 'assistant', content: '' };
    const prompt = this.#answer.request.return_token_ids === true ? { prompt_token_ids: this.#promptTokenIds } : {};
    return this.#choices
      .map((_, index) => JSON.stringify({ index, delta, logprobs: null, finish_reason: null, ...prompt }))
      .map(choice => this.#chunk(choice))
      .join('');
  }

  output(_index: number, output: RequestOutput): string {
    this.#usage.add(0, output);
    this.#promptTokenIds = output.promptTokenIds;
    let events = '';
    for (const gained of output.outputs) {
      const delta = this.#choices[gained.index]!.add(gained);
      if (delta !== null) events += this.#chunk(this.#delta(delta));
    }
    return events;
  }

  closing(): string {
    return (this.#answer.streaming.includeUsage ? this.#chunks.usage(this.#usage.usage) : '') + DONE;
  }

  /** The body of an answer that is not streamed. */
  whole(output: RequestOutput): unknown {
    const { id, model, request } = this.#answer;
    this.#usage.add(0, output);
    const { usage } = this.#usage;
    const choices = output.outputs.map(choice => this.#whole(choice));
    const body = { id, object: 'chat.completion', created: this.#created, model, choices, usage };
    const prompt = typeof request.prompt_logprobs === 'number';
    return {
      ...body,
      ...(prompt ? { prompt_logprobs: promptLogprobs(this.#tokenizer, output.promptLogprobs ?? []) } : {}),
      ...(request.return_token_ids === true ? { prompt_token_ids: output.promptTokenIds } : {}),
    };
  }

  #whole(choice: CompletionOutput): unknown {
    return {
      index: choice.index,
      message: { role: 'assistant', content: choice.text, refusal: null },
      logprobs: choice.logprobs && chatLogprobs(this.#tokenizer, choice.logprobs, this.#topN),
      finish_reason: choice.finishReason,
      stop_reason: choice.stopReason,
      ...(this.#answer.request.return_token_ids === true ? { token_ids: choice.tokenIds } : {}),
    };
  }

  /** The hot path of a stream: a plain delta is put together from text. */
  #delta(delta: ChoiceDelta): string {
    const content = `{"index":${delta.index},"delta":{"content":${JSON.stringify(delta.text)}},"logprobs":`;
    const logprobs =
      delta.logprobs === null ? 'null' : JSON.stringify(chatLogprobs(this.#tokenizer, delta.logprobs, this.#topN));
    const tokens =
      this.#answer.request.return_token_ids === true ? `,"token_ids":${JSON.stringify(delta.tokenIds)}` : '';
    if (delta.finishReason === null) return `${content}${logprobs},"finish_reason":null${tokens}}`;
    const stop = JSON.stringify(delta.stopReason);
    return `${content}${logprobs},"finish_reason":"${delta.finishReason}","stop_reason":${stop}${tokens}}`;
  }

  #chunk(choice: string): string {
    return this.#chunks.chunk(choice, this.#answer.streaming.continuousUsage ? this.#usage.usage : null);
  }

  get #topN(): number {
    const { top_logprobs: top, logprob_token_ids: ids } = this.#answer.request;
    return top ?? (Array.isArray(ids) ? ids.length : 0);
  }
}
