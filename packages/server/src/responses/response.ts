import type { CompletionOutput, PositionLogprobs, RequestOutput } from '@quire/core';
import type { ServingTokenizer } from '../app/context.ts';
import type { HttpError } from '../http/errors.ts';
import { type AnswerPart, AnswerParts, type PartFormat } from '../openai/answer-parts.ts';
import type { ChatOutput } from '../openai/chat-output.ts';
import { chatLogprobs } from '../openai/logprobs.ts';
import { ReasoningTokens } from '../openai/reasoning/reasoning-tokens.ts';
import type { StreamFormat } from '../openai/run.ts';
import { type Item, newItemId } from './items.ts';
import type { ResponsesRequest } from './request.ts';

export interface ResponseAnswer {
  id: string;
  model: string;
  request: ResponsesRequest;
  tokenizer: ServingTokenizer;
  output: ChatOutput;
  /** The response, whenever what is known of it has changed for good: when it begins and when it is over. */
  onChange(body: ResponseBody): void;
}

export type ResponseBody = Readonly<Record<string, unknown>> & {
  readonly status: string;
  readonly output: readonly Item[];
};

type Status = 'in_progress' | 'completed' | 'incomplete' | 'failed' | 'cancelled';

/** One response, whole or as events with numbers. */
export class ResponsesAnswer implements StreamFormat {
  readonly #answer: ResponseAnswer;
  readonly #created = Math.floor(Date.now() / 1000);
  readonly #parts: AnswerParts;
  /** Per part. */
  readonly #items: OutputItem[] = [];
  /** Log-probabilities of text that is not sent yet. */
  #logprobs: PositionLogprobs[] = [];
  /** The events of the opening have the first two: it is asked for when the first output is written. */
  #sequenceNumber = 2;
  #outputTokens = 0;
  readonly #reasoning: ReasoningTokens | null;
  #prompt: RequestOutput | null = null;
  #finish: CompletionOutput | null = null;

  constructor(answer: ResponseAnswer) {
    this.#answer = answer;
    this.#parts = new AnswerParts(answer.output.createParser(), this.#itemEvents());
    const { start, marks = null } = answer.output.reasoning ?? {};
    this.#reasoning = start === undefined || marks === null ? null : new ReasoningTokens(marks, start);
  }

  /** The body of an answer that is not streamed. */
  whole(output: RequestOutput): ResponseBody {
    this.output(0, output);
    this.#parts.end();
    return this.#over();
  }

  /** The response before its first output. */
  begin(): ResponseBody {
    const response = this.#body('in_progress');
    this.#answer.onChange(response);
    return response;
  }

  opening(): string {
    const response = this.begin();
    return numbered('response.created', { response }, 0) + numbered('response.in_progress', { response }, 1);
  }

  output(_index: number, output: RequestOutput): string {
    this.#prompt = output;
    const [gained] = output.outputs;
    if (gained === undefined) return '';
    this.#outputTokens += gained.tokenIds.length;
    this.#reasoning?.add(gained.tokenIds);
    this.#logprobs.push(...(gained.logprobs ?? []));
    if (gained.finishReason !== null) this.#finish = gained;
    return this.#parts.push(gained.text);
  }

  closing(): string {
    const events = this.#parts.end();
    const response = this.#over();
    return events + this.#event(`response.${response.status}`, { response });
  }

  failure(error: HttpError): string {
    const { status, message, type, param, code } = error;
    // A client that leaves its stream cancels the response too.
    if (code === CANCELLED || status === 499) this.#answer.onChange(this.#body('cancelled'));
    else this.#answer.onChange({ ...this.#body('failed'), error: { code: code ?? 'server_error', message } });
    return this.#event('error', { code, message, param, error: { message, type, param, code } });
  }

  #over(): ResponseBody {
    this.#items.at(-1)?.logprobs.push(...this.#takeLogprobs());
    const body = this.#body(this.#finish?.finishReason === 'length' ? 'incomplete' : 'completed');
    this.#answer.onChange(body);
    return body;
  }

  #body(status: Status): ResponseBody {
    const { id, model, request } = this.#answer;
    return {
      id,
      object: 'response',
      created_at: this.#created,
      status,
      error: null,
      incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
      instructions: request.instructions ?? null,
      max_output_tokens: request.max_output_tokens ?? null,
      metadata: request.metadata ?? {},
      model,
      output: status === 'in_progress' ? [] : this.#items.map(item => item.whole(this.#itemStatus(status))),
      parallel_tool_calls: request.parallel_tool_calls ?? true,
      previous_response_id: request.previous_response_id ?? null,
      reasoning: { effort: request.reasoning?.effort ?? null, summary: null },
      service_tier: 'default',
      store: request.store ?? true,
      temperature: request.temperature ?? null,
      text: request.text ?? { format: { type: 'text' } },
      tool_choice: request.tool_choice ?? 'auto',
      tools: request.tools ?? [],
      top_p: request.top_p ?? null,
      truncation: 'disabled',
      background: request.background ?? false,
      usage: status === 'in_progress' ? null : this.#usage(),
    };
  }

  #itemStatus(status: Status): string {
    return status === 'completed' ? 'completed' : 'incomplete';
  }

  #usage(): object {
    const inputTokens = this.#prompt?.promptTokenIds.length ?? 0;
    return {
      input_tokens: inputTokens,
      input_tokens_details: { cached_tokens: this.#prompt?.numCachedTokens ?? 0 },
      output_tokens: this.#outputTokens,
      output_tokens_details: { reasoning_tokens: this.#reasoning?.count ?? 0 },
      total_tokens: inputTokens + this.#outputTokens,
    };
  }

  #takeLogprobs(): object[] {
    const taken = chatLogprobs(this.#answer.tokenizer, this.#logprobs, this.#answer.request.top_logprobs ?? 0);
    this.#logprobs = [];
    return taken.content;
  }

  #event(type: string, fields: object): string {
    return numbered(type, fields, this.#sequenceNumber++);
  }

  #itemEvents(): PartFormat {
    return {
      open: part => {
        const item = new OutputItem(part);
        this.#items.push(item);
        const added = this.#event('response.output_item.added', { output_index: part.index, item: item.empty });
        if (part.kind === 'call') return added;
        return added + this.#event('response.content_part.added', { ...item.place, part: item.part('') });
      },
      grow: (part, delta) => {
        const item = this.#items[part.index]!;
        const logprobs = part.kind === 'content' ? this.#takeLogprobs() : [];
        item.logprobs.push(...logprobs);
        return this.#event(`${item.event}.delta`, {
          ...item.place,
          delta,
          ...(part.kind === 'content' ? { logprobs } : {}),
        });
      },
      close: part => {
        const item = this.#items[part.index]!;
        const done = this.#event(`${item.event}.done`, { ...item.place, ...item.result });
        const closed =
          part.kind === 'call'
            ? ''
            : this.#event('response.content_part.done', { ...item.place, part: item.part(part.text) });
        const whole = { output_index: part.index, item: item.whole('completed') };
        return done + closed + this.#event('response.output_item.done', whole);
      },
    };
  }
}

function numbered(type: string, fields: object, number: number): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields, sequence_number: number })}\n\n`;
}

/** The code of the error that ends a response which was cancelled. */
export const CANCELLED = 'response_cancelled';

const events = {
  content: 'response.output_text',
  reasoning: 'response.reasoning_text',
  call: 'response.function_call_arguments',
} as const;
const types = { content: 'message', reasoning: 'reasoning', call: 'function_call' } as const;

/** A part of the answer as an item of the output. */
class OutputItem {
  readonly id: string;
  readonly logprobs: object[] = [];
  readonly #part: AnswerPart;

  constructor(part: AnswerPart) {
    this.#part = part;
    this.id = newItemId(types[part.kind]);
  }

  get event(): string {
    return events[this.#part.kind];
  }

  get place(): object {
    const { index, kind } = this.#part;
    return { item_id: this.id, output_index: index, ...(kind === 'call' ? {} : { content_index: 0 }) };
  }

  /** What the event says that ends the text. */
  get result(): object {
    const { kind, name, text } = this.#part;
    if (kind === 'call') return { name, arguments: text };
    return kind === 'content' ? { text, logprobs: this.logprobs } : { text };
  }

  get empty(): Item {
    const item = this.#with('in_progress', '');
    return this.#part.kind === 'call' ? item : { ...item, content: [] };
  }

  whole(status: string): Item {
    return this.#with(status, this.#part.text);
  }

  part(text: string): object {
    if (this.#part.kind === 'reasoning') return { type: 'reasoning_text', text };
    return { type: 'output_text', text, annotations: [], logprobs: text === '' ? [] : this.logprobs };
  }

  #with(status: string, text: string): Item {
    const { kind, name } = this.#part;
    const head = { id: this.id, type: types[kind], status };
    if (kind === 'call') return { ...head, call_id: `call_${this.id.slice(3)}`, name, arguments: text };
    if (kind === 'reasoning') return { ...head, summary: [], content: [this.part(text)] };
    return { ...head, role: 'assistant', content: [this.part(text)] };
  }
}
