import type { RequestOutput } from '@quire/core';
import type { ServingTokenizer } from '../app/context.ts';
import { ChatChoice } from './chat-choice.ts';
import type { ChatOutput } from './chat-output.ts';
import type { ChatRequest } from './chat-request.ts';
import { ChunkWriter, DONE } from './chunks.ts';
import { promptLogprobs } from './logprobs.ts';
import { choicesPerPrompt, type StreamFormat } from './run.ts';
import type { StreamChoice } from './stream-options.ts';
import { type Usage, UsageCounter } from './usage.ts';

export interface ChatAnswer {
  id: string;
  model: string;
  request: ChatRequest;
  streaming: StreamChoice;
  output: ChatOutput;
  /** What the answer begins with. */
  echoed: string;
  fingerprint: string;
}

/** The answer to a chat request, whole or in chunks. */
export class ChatResponse implements StreamFormat {
  readonly #tokenizer: ServingTokenizer;
  readonly #answer: ChatAnswer;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #chunks: ChunkWriter;
  readonly #choices: ChatChoice[];
  readonly #usage = new UsageCounter();
  #promptTokenIds: readonly number[] = [];

  constructor(tokenizer: ServingTokenizer, answer: ChatAnswer) {
    this.#tokenizer = tokenizer;
    this.#answer = answer;
    const { id, model, request, streaming, output, echoed, fingerprint } = answer;
    const frame = { id, request, output, tokenizer, echoed };
    this.#choices = Array.from({ length: choicesPerPrompt(request.n) }, (_, index) => new ChatChoice(index, frame));
    const head = {
      id,
      object: 'chat.completion.chunk',
      created: this.#created,
      model,
      system_fingerprint: fingerprint,
    } as const;
    this.#chunks = new ChunkWriter(head, streaming.includeUsage);
  }

  /** One chunk per choice that names the role. */
  opening(): string {
    const delta = { role: 'assistant', content: this.#answer.echoed };
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
      const choice = this.#choices[gained.index]!.gain(gained);
      if (choice !== null) events += this.#chunk(choice);
    }
    return events;
  }

  closing(): string {
    return (this.#answer.streaming.includeUsage ? this.#chunks.usage(this.#usageNow()) : '') + DONE;
  }

  /** The body of an answer that is not streamed. */
  whole(output: RequestOutput): unknown {
    const { id, model, request, fingerprint } = this.#answer;
    this.#usage.add(0, output);
    const choices = output.outputs.map(choice => this.#choices[choice.index]!.whole(choice));
    const usage = this.#usageNow();
    const body = { id, object: 'chat.completion', created: this.#created, model, system_fingerprint: fingerprint };
    const prompt = typeof request.prompt_logprobs === 'number';
    return {
      ...body,
      choices,
      usage,
      ...(prompt ? { prompt_logprobs: promptLogprobs(this.#tokenizer, output.promptLogprobs ?? []) } : {}),
      ...(request.return_token_ids === true ? { prompt_token_ids: output.promptTokenIds } : {}),
    };
  }

  #usageNow(): Usage {
    const { usage } = this.#usage;
    const counts = this.#choices.map(choice => choice.reasoningTokens);
    if (counts.includes(null)) return usage;
    const reasoning = counts.reduce<number>((sum, count) => sum + (count ?? 0), 0);
    return { ...usage, completion_tokens_details: { reasoning_tokens: reasoning } };
  }

  #chunk(choice: string): string {
    return this.#chunks.chunk(choice, this.#answer.streaming.continuousUsage ? this.#usageNow() : null);
  }
}
