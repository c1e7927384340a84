import type { AddOptions, ResolvedRequest, ResolvedSamplingParams } from '@quire/core';
import { FrameError } from './frames.ts';
import { toNumbers, WordReader, WordWriter } from './words.ts';

/** The head of a request: what is in it of lists of tokens stands in the words behind it. */
interface AddHead {
  readonly request: number;
  readonly number: number;
  readonly requestId: string;
  readonly params: Record<string, unknown>;
  readonly numPromptTokens: number;
  readonly adapter: string | null;
  /** null: nothing came of it yet. */
  readonly resume: readonly { numTokens: number; cumulativeLogprob: number | null; end: unknown }[] | null;
}

/** A request as an engine gets it. */
export interface EngineAsk {
  /** The front end's name for it. */
  readonly request: number;
  readonly resolved: ResolvedRequest;
  readonly options: AddOptions;
}

/** One for all: what it has written is copied into a frame before the next. */
const writer = new WordWriter();

/** `words`: valid until the next call. */
export function encodeAsk({ request, resolved, options }: EngineAsk): { head: AddHead; words: Uint32Array } {
  const { params, prompt } = resolved;
  writer.list(prompt.tokenIds);
  for (const { tokenIds } of options.resume ?? []) writer.list(tokenIds);
  const head = {
    request,
    number: options.number!,
    requestId: options.requestId!,
    params: toJson(params),
    numPromptTokens: prompt.tokenIds.length,
    adapter: options.loraRequest?.loraName ?? null,
    resume:
      options.resume?.map(({ tokenIds, cumulativeLogprob = null, end = null }) => ({
        numTokens: tokenIds.length,
        cumulativeLogprob,
        end,
      })) ?? null,
  };
  return { head, words: writer.take() };
}

export function decodeAsk(head: unknown, words: Uint32Array): EngineAsk {
  const { request, number, requestId, params, numPromptTokens, adapter, resume } = head as AddHead;
  const reader = new WordReader(words);
  const prompt = { text: null, tokenIds: toNumbers(reader.list(numPromptTokens)) };
  const completions = resume?.map(({ numTokens, cumulativeLogprob, end }) => ({
    tokenIds: toNumbers(reader.list(numTokens)),
    cumulativeLogprob,
    end: end as { reason: 'stop'; stopReason: null } | null,
  }));
  if (!reader.isAtEnd) throw new FrameError('A request has more tokens than its head tells.');
  const loraRequest = adapter === null ? null : { loraName: adapter };
  const options = { number, requestId, loraRequest, ...(completions === undefined ? {} : { resume: completions }) };
  return { request, resolved: { prompt, params: fromJson(params) }, options };
}

function toJson(params: ResolvedSamplingParams): Record<string, unknown> {
  const { seed, stopTokenIds } = params;
  // Logits processors are functions, and stay where they are.
  return {
    ...params,
    seed: seed === null ? null : String(seed),
    stopTokenIds: [...stopTokenIds],
    logitsProcessors: undefined,
  };
}

function fromJson(params: Record<string, unknown>): ResolvedSamplingParams {
  const { seed, stopTokenIds } = params as { seed: string | null; stopTokenIds: number[] };
  return {
    ...(params as unknown as ResolvedSamplingParams),
    seed: seed === null ? null : BigInt(seed),
    stopTokenIds: new Set(stopTokenIds),
    logitsProcessors: [],
  };
}
