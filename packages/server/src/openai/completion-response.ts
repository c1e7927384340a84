import type { CompletionOutput, RequestOutput } from '@quire/core';
import type { ServingTokenizer } from '../app/context.ts';
import { type ChoiceDelta, ChoiceDeltas } from './choice-deltas.ts';
import { ChunkWriter, DONE } from './chunks.ts';
import type { CompletionRequest } from './completion-request.ts';
import { CompletionLogprobsWriter, promptLogprobs } from './logprobs.ts';
import { choicesPerPrompt, type StreamFormat, type TokenPrompt } from './run.ts';
import type { StreamChoice } from './stream-options.ts';
import { UsageCounter } from './usage.ts';

export interface CompletionAnswer {
  id: string;
  model: string;
  fingerprint: string;
  request: CompletionRequest;
  prompts: readonly TokenPrompt[];
  streaming: StreamChoice;
}

/** What one choice has sent. */
interface Choice {
  deltas: ChoiceDeltas;
  logprobs: CompletionLogprobsWriter;
  started: boolean;
}

/** The answer to a completion request, whole or in chunks. Choice `i` of prompt `p` has index `p * n + i`. */
export class CompletionResponse implements StreamFormat {
  readonly #tokenizer: ServingTokenizer;
  readonly #answer: CompletionAnswer;
  readonly #n: number;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #chunks: ChunkWriter;
  readonly #choices = new Map<number, Choice>();
  readonly #usage = new UsageCounter();
  /** Until it is complete and can be echoed. */
  readonly #promptLogprobs: RequestOutput['promptLogprobs'][] = [];

  constructor(tokenizer: ServingTokenizer, answer: CompletionAnswer) {
    this.#tokenizer = tokenizer;
    this.#answer = answer;
    const { id, model, request, streaming, fingerprint } = answer;
    this.#n = choicesPerPrompt(request.n);
    const head = {
      id,
      object: 'text_completion',
      created: this.#created,
      model,
      system_fingerprint: fingerprint,
    } as const;
    this.#chunks = new ChunkWriter(head, streaming.includeUsage);
  }

  opening(): string {
    return '';
  }

  output(promptIndex: number, given: RequestOutput): string {
    const output = this.#wanted(given);
    this.#usage.add(promptIndex, output);
    this.#promptLogprobs[promptIndex] ??= output.promptLogprobs;
    const usage = this.#answer.streaming.continuousUsage ? this.#usage.usage : null;
    let events = '';
    for (const delta of output.outputs) {
      const choice = this.#choice(promptIndex, output, delta);
      if (choice !== null) events += this.#chunks.chunk(JSON.stringify(choice), usage);
    }
    return events;
  }

  closing(): string {
    return (this.#answer.streaming.includeUsage ? this.#chunks.usage(this.#usage.usage) : '') + DONE;
  }

  /** The body of an answer that is not streamed. */
  whole(outputs: readonly RequestOutput[]): unknown {
    const { id, model, request, fingerprint } = this.#answer;
    const choices = outputs.flatMap((given, p) => {
      const output = this.#wanted(given);
      this.#usage.add(p, output);
      this.#promptLogprobs[p] = output.promptLogprobs;
      const extra =
        typeof request.prompt_logprobs === 'number'
          ? { prompt_logprobs: promptLogprobs(this.#tokenizer, output.promptLogprobs ?? []) }
          : {};
      return output.outputs.map(choice => ({ ...this.#choice(p, output, choice), ...extra }));
    });
    const head = { id, object: 'text_completion', created: this.#created, model, system_fingerprint: fingerprint };
    return { ...head, choices, usage: this.#usage.usage };
  }

  /** Without the token that the engine samples for a request that wants none. */
  #wanted(output: RequestOutput): RequestOutput {
    if (this.#answer.request.max_tokens !== 0) return output;
    return { ...output, outputs: output.outputs.map(withoutTokens) };
  }

  #choice(promptIndex: number, output: RequestOutput, gained: ChoiceDelta): Record<string, unknown> | null {
    const index = promptIndex * this.#n + gained.index;
    const state = this.#stateOf(index);
    const delta = state.deltas.add(gained);
    if (delta === null) return null;
    const echoed = this.#answer.request.echo === true && !state.started ? promptIndex : null;
    const body = {
      index,
      text: (echoed === null ? '' : this.#promptText(echoed, output)) + delta.text,
      logprobs: this.#logprobs(state, delta, echoed, output),
      finish_reason: delta.finishReason,
      stop_reason: delta.stopReason,
      ...this.#tokenIds(state, output, delta),
    };
    state.started = true;
    return body;
  }

  #stateOf(index: number): Choice {
    const asIds = this.#answer.request.return_tokens_as_token_ids === true;
    const skipSpecialTokens = this.#answer.request.skip_special_tokens !== false;
    const state = this.#choices.get(index) ?? {
      deltas: new ChoiceDeltas(this.#answer.request.stream_interval ?? 1),
      logprobs: new CompletionLogprobsWriter(this.#tokenizer, skipSpecialTokens, asIds),
      started: false,
    };
    this.#choices.set(index, state);
    return state;
  }

  #promptText(promptIndex: number, output: RequestOutput): string {
    return this.#answer.prompts[promptIndex]?.prompt ?? this.#tokenizer.decode(output.promptTokenIds);
  }

  #logprobs(state: Choice, delta: ChoiceDelta, echoed: number | null, output: RequestOutput): unknown {
    if (delta.logprobs === null) return null;
    if (echoed === null) return state.logprobs.take(delta.tokenIds, delta.logprobs);
    const prompt = this.#promptLogprobs[echoed] ?? [];
    return state.logprobs.take([...output.promptTokenIds, ...delta.tokenIds], [...prompt, ...delta.logprobs]);
  }

  #tokenIds(state: Choice, output: RequestOutput, delta: ChoiceDelta): Record<string, unknown> {
    if (this.#answer.request.return_token_ids !== true) return {};
    const prompt = state.started ? {} : { prompt_token_ids: output.promptTokenIds };
    return { ...prompt, token_ids: delta.tokenIds };
  }
}

function withoutTokens(choice: CompletionOutput): CompletionOutput {
  const { finishReason, logprobs } = choice;
  const ended = finishReason === null ? null : 'length';
  return { ...choice, text: '', tokenIds: [], logprobs: logprobs && [], finishReason: ended, stopReason: null };
}
