import type { CompletionOutput, RequestOutput } from '@quire/core';
import type { HttpError } from '../http/errors.ts';
import { newRequestId } from '../http/request.ts';
import { type AnswerPart, AnswerParts, type PartFormat, partsOf } from '../openai/answer-parts.ts';
import type { OutputParser } from '../openai/output-events.ts';
import type { StreamFormat } from '../openai/run.ts';
import { anthropicError } from './errors.ts';

interface MessageAnswer {
  id: string;
  model: string;
  parser: OutputParser | null;
}

/** One answer in Anthropic's shape, whole or as events. */
export class MessageResponse implements StreamFormat {
  readonly #answer: MessageAnswer;
  readonly #parts: AnswerParts;
  #outputTokens = 0;
  #last: RequestOutput | null = null;
  #end: CompletionOutput | null = null;

  constructor(answer: MessageAnswer) {
    this.#answer = answer;
    this.#parts = new AnswerParts(answer.parser, blockEvents);
  }

  whole(output: RequestOutput): unknown {
    const [choice] = output.outputs;
    this.#outputTokens = choice!.tokenIds.length;
    const parts = partsOf(choice!.text, this.#answer.parser);
    const end = stopOf(choice!, parts);
    return { ...this.#head(), content: parts.map(block), ...end, usage: this.#usage(output) };
  }

  opening(): string {
    const usage = { ...this.#usage(this.#last!), output_tokens: 0 };
    const message = { ...this.#head(), content: [], stop_reason: null, stop_sequence: null, usage };
    return event('message_start', { message });
  }

  output(_index: number, output: RequestOutput): string {
    this.#last = output;
    const [gained] = output.outputs;
    if (gained === undefined) return '';
    this.#outputTokens += gained.tokenIds.length;
    if (gained.finishReason !== null) this.#end = gained;
    return this.#parts.push(gained.text);
  }

  closing(): string {
    const blocks = this.#parts.end();
    const delta = stopOf(this.#end!, this.#parts.all);
    return blocks + event('message_delta', { delta, usage: this.#usage(this.#last!) }) + event('message_stop', {});
  }

  failure(error: HttpError): string {
    return `event: error\ndata: ${anthropicError(error)}\n\n`;
  }

  #head() {
    const { id, model } = this.#answer;
    return { id, type: 'message', role: 'assistant', model };
  }

  /** Tokens read from the cache are not among the input tokens. */
  #usage({ promptTokenIds, numCachedTokens }: RequestOutput) {
    return {
      input_tokens: promptTokenIds.length - numCachedTokens,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: numCachedTokens,
      output_tokens: this.#outputTokens,
    };
  }
}

function stopOf({ finishReason, stopReason }: CompletionOutput, parts: readonly AnswerPart[]) {
  if (finishReason === 'length') return { stop_reason: 'max_tokens', stop_sequence: null };
  if (typeof stopReason === 'string') return { stop_reason: 'stop_sequence', stop_sequence: stopReason };
  const called = parts.some(part => part.kind === 'call');
  return { stop_reason: called ? 'tool_use' : 'end_turn', stop_sequence: null };
}

function block({ kind, name, text }: AnswerPart): object {
  if (kind === 'content') return { type: 'text', text };
  if (kind === 'reasoning') return { type: 'thinking', thinking: text, signature: '' };
  return { type: 'tool_use', id: toolUseId(), name, input: inputOf(text) };
}

/** Arguments that end early, at the limit of tokens, are no JSON. */
function inputOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function toolUseId(): string {
  return `toolu_${newRequestId().slice(0, 24)}`;
}

function event(type: string, fields: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
}

const deltas = {
  content: '"text_delta","text":',
  reasoning: '"thinking_delta","thinking":',
  call: '"input_json_delta","partial_json":',
} as const;

/** Blocks as they grow. A delta is put together from text: it is the hot path of a stream. */
const blockEvents: PartFormat = {
  open: ({ index, kind, name }) => {
    const empty = {
      content: { type: 'text', text: '' },
      reasoning: { type: 'thinking', thinking: '', signature: '' },
      call: { type: 'tool_use', id: toolUseId(), name, input: {} },
    };
    return event('content_block_start', { index, content_block: empty[kind] });
  },
  grow: ({ index, kind }, gained) =>
    `event: content_block_delta\ndata: {"type":"content_block_delta","index":${index},"delta":{"type":${deltas[kind]}${JSON.stringify(gained)}}}\n\n`,
  close: ({ index }) => event('content_block_stop', { index }),
};
