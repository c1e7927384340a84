import type { CompletionOutput } from '@quire/core';
import type { ServingTokenizer } from '../app/context.ts';
import type { ChatOutput } from './chat-output.ts';
import type { ChatRequest } from './chat-request.ts';
import { type ChoiceDelta, ChoiceDeltas } from './choice-deltas.ts';
import { chatLogprobs } from './logprobs.ts';
import { type MessageDelta, messageDelta } from './message-delta.ts';
import type { OutputEvent } from './output-events.ts';
import { ParsedDeltas } from './parsed-deltas.ts';
import { ReasoningTokens } from './reasoning/reasoning-tokens.ts';

/** What the choices of one answer share. */
export interface ChoiceFrame {
  /** The answer's, of which ids of calls are made. */
  readonly id: string;
  readonly request: ChatRequest;
  readonly output: ChatOutput;
  readonly tokenizer: ServingTokenizer;
  /** What its text begins with. */
  readonly echoed: string;
}

/** One choice of a chat answer, whole or in chunks. */
export class ChatChoice {
  readonly #index: number;
  readonly #frame: ChoiceFrame;
  readonly #plain: ChoiceDeltas;
  /** Instead, where the text is not all content. */
  readonly #parsed: ParsedDeltas | null;
  readonly #reasoning: ReasoningTokens | null;
  #hasCalls = false;

  constructor(index: number, frame: ChoiceFrame) {
    this.#index = index;
    this.#frame = frame;
    const { output, request } = frame;
    const interval = request.stream_interval ?? 1;
    this.#plain = new ChoiceDeltas(interval);
    const isShown = (event: OutputEvent) => output.includeReasoning || event.kind !== 'reasoning';
    const parser = output.createParser();
    this.#parsed = parser === null ? null : new ParsedDeltas(parser, isShown, interval);
    const { start, marks = null } = output.reasoning ?? {};
    this.#reasoning = start === undefined || marks === null ? null : new ReasoningTokens(marks, start);
  }

  /** Tokens of its reasoning so far; null: they cannot be told. */
  get reasoningTokens(): number | null {
    return this.#reasoning?.count ?? null;
  }

  /** What it gained, as the JSON of a chunk's choice; null: nothing to show yet. */
  gain(gained: CompletionOutput): string | null {
    this.#reasoning?.add(gained.tokenIds);
    if (this.#parsed === null) {
      // The hot path of a stream: a plain delta is put together from text.
      const delta = this.#plain.add(gained);
      return delta === null ? null : this.#chunk(`{"content":${JSON.stringify(delta.text)}}`, delta);
    }
    const parsed = this.#parsed.add(gained);
    return parsed === null ? null : this.#chunk(JSON.stringify(this.#message(parsed.events)), parsed.delta);
  }

  /** All of it. */
  whole(choice: CompletionOutput): unknown {
    this.#reasoning?.add(choice.tokenIds);
    const { request, tokenizer } = this.#frame;
    return {
      index: choice.index,
      message: this.#wholeMessage(choice),
      logprobs: choice.logprobs && chatLogprobs(tokenizer, choice.logprobs, this.#topN, this.#asIds),
      finish_reason: this.#finishReason(choice.finishReason),
      stop_reason: choice.stopReason,
      ...(request.return_token_ids === true ? { token_ids: choice.tokenIds } : {}),
    };
  }

  #wholeMessage(choice: CompletionOutput): unknown {
    const role = 'assistant';
    const { echoed } = this.#frame;
    if (this.#parsed === null) return { role, content: echoed + choice.text, refusal: null };
    const { events } = this.#parsed.add(choice)!;
    const { content = '', tool_calls: calls, ...reasoning } = this.#message(events);
    if (calls === undefined) return { role, content: echoed + content, refusal: null, ...reasoning };
    const toolCalls = calls.map(({ index: _, ...call }) => call);
    return {
      role,
      content: echoed + content === '' ? null : echoed + content,
      refusal: null,
      ...reasoning,
      tool_calls: toolCalls,
    };
  }

  #message(events: readonly OutputEvent[]): MessageDelta {
    const delta = messageDelta(events, call => `chatcmpl-tool-${this.#frame.id.slice(9)}-${this.#index}-${call}`);
    this.#hasCalls ||= delta.tool_calls !== undefined;
    return delta;
  }

  #finishReason(reason: string | null): string | null {
    return reason === null ? null : this.#frame.output.finishReason(reason, this.#hasCalls);
  }

  #chunk(message: string, { logprobs, tokenIds, finishReason, stopReason }: ChoiceDelta): string {
    const { request, tokenizer } = this.#frame;
    const shown =
      logprobs === null ? 'null' : JSON.stringify(chatLogprobs(tokenizer, logprobs, this.#topN, this.#asIds));
    const tokens = request.return_token_ids === true ? `,"token_ids":${JSON.stringify(tokenIds)}` : '';
    const head = `{"index":${this.#index},"delta":${message},"logprobs":${shown},"finish_reason":`;
    if (finishReason === null) return `${head}null${tokens}}`;
    return `${head}"${this.#finishReason(finishReason)}","stop_reason":${JSON.stringify(stopReason)}${tokens}}`;
  }

  get #asIds(): boolean {
    return this.#frame.request.return_tokens_as_token_ids === true;
  }

  get #topN(): number {
    const { top_logprobs: top, logprob_token_ids: ids } = this.#frame.request;
    return top ?? (Array.isArray(ids) ? ids.length : 0);
  }
}
