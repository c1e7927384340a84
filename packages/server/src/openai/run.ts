import {
  EngineClosedError,
  EngineError,
  InvalidRequestError,
  longestPrompt,
  MAX_N,
  MAX_TRUNCATED_CONTEXTS,
  type OutputKind,
  type RequestOutput,
  type SamplingParams,
  truncatedLength,
} from '@quire/core';
import type { AppContext } from '../app/context.ts';
import { errorBody, type HttpError, invalidField, toHttpError } from '../http/errors.ts';
import { EventStream } from '../http/event-stream.ts';
import { eventReply, type Reply, type ReplyHeaders } from '../http/reply.ts';
import type { AppRequest } from '../http/request.ts';
import { type Constraint, inTermsOf } from './structured-fields.ts';

/** The tokenizer's code for a prompt above its limit. */
const PROMPT_TOO_LONG = 'prompt_too_long';

/** One prompt, tokenised. */
export interface TokenPrompt {
  /** The text that a client gave, or null when it gave ids. */
  prompt: string | null;
  promptTokenIds: number[];
}

/** What running a generation must know of its request. */
export type RequestEnd = Pick<AppRequest, 'requestId' | 'signal'>;

/** One HTTP request as the engine gets it: one request per prompt, all with the same parameters. */
export interface Generation {
  /** The name that it asks for: the model's, or that of an adapter. */
  readonly model: string;
  readonly prompts: readonly TokenPrompt[];
  readonly params: SamplingParams;
  /** What the params say of the text, in the words of the request. */
  readonly constraint: Constraint | null;
  /** Embeddings of the prompts are asked for, and nothing behind them. */
  readonly embeds?: true;
}

/** Makes the events of a stream. Texts are whole events. */
export interface StreamFormat {
  /** Before the first output. */
  opening(): string;
  /** What the output of prompt `index` adds; empty when there is nothing to send yet. */
  output(index: number, output: RequestOutput): string;
  /** After the last output, up to the very end. */
  closing(): string;
  /** Instead of it, when the stream fails. Default: OpenAI's error event. */
  failure?(error: HttpError): string;
}

/** Completions that are computed per prompt. */
export function sequencesPerPrompt({ n, best_of: bestOf }: Readonly<Record<string, unknown>>): number {
  return Math.max(choicesPerPrompt(n), choicesPerPrompt(bestOf));
}

/** Completions per prompt. A malformed n counts as one here: the engine refuses it. */
export function choicesPerPrompt(n: unknown): number {
  return Number.isSafeInteger(n) && (n as number) >= 1 && (n as number) <= MAX_N ? (n as number) : 1;
}

/** The tokens that are left of a prompt when the request truncates it; null: all. Throws InvalidRequestError. */
export function keptTokens(app: AppContext, truncatePromptTokens: unknown, maxTokens: number | null): number | null {
  if (truncatePromptTokens === undefined || truncatePromptTokens === null) return null;
  return truncatedLength({ truncatePromptTokens: truncatePromptTokens as number, maxTokens }, app.engine.limits);
}

/** The last `keep` tokens of a prompt, or all. */
export function truncate(tokenIds: number[], keep: number | null): number[] {
  return keep === null ? tokenIds : tokenIds.slice(-keep);
}

/**
 * Runs the tokenizer with the most tokens that a prompt may have, and some more where only its last `keep` are kept. It stops
 * there: a prompt that is far too long costs little. Throws HttpError 400 (context_length_exceeded) that names `param`.
 */
export async function tokenise(
  app: AppContext,
  param: string,
  keep: number | null,
  encode: (maxTokens: number) => number[] | Promise<number[]>,
): Promise<number[]> {
  const { maxModelLen } = app.engine.limits;
  const longest = longestPrompt(app.engine.limits);
  try {
    return truncate(await encode(keep === null ? longest : MAX_TRUNCATED_CONTEXTS * maxModelLen), keep);
  } catch (error) {
    if (!(error instanceof InvalidRequestError) || error.code !== PROMPT_TOO_LONG) throw error;
    const output = longest < maxModelLen ? ', one of them for output' : '';
    const message = `This model's context is ${maxModelLen} tokens${output}; the prompt has at least ${longest + 1}. Shorten it.`;
    throw invalidField(param, message, 'context_length_exceeded');
  }
}

/** Throws HttpError 400 when the prompt and the tokens asked for exceed the context. `param` names the field that asked. */
export function checkContext(prompt: TokenPrompt, maxTokens: number | null, param: string, context: AppContext): void {
  const { maxModelLen } = context.engine.limits;
  const promptTokens = prompt.promptTokenIds.length;
  if (maxTokens === null || promptTokens >= maxModelLen || promptTokens + maxTokens <= maxModelLen) return;
  throw invalidField(
    param,
    `This model's context is ${maxModelLen} tokens; you asked for ${promptTokens + maxTokens}: ${promptTokens} in the prompt and ${maxTokens} for the completion. Reduce the prompt or ${param}.`,
    'context_length_exceeded',
  );
}

/** Runs the generation to its end. Rejects when the client leaves or any prompt fails; the other prompts then stop too. */
export async function collect(app: AppContext, request: RequestEnd, generation: Generation): Promise<RequestOutput[]> {
  const outputs: RequestOutput[] = [];
  await runAll(app, request, generation, 'final', (index, output) => {
    outputs[index] = output;
    return undefined;
  });
  return outputs;
}

/**
 * Streams the generation. Resolves with the first output, so that a request that fails before still gets its status; one that
 * fails later ends with an error event and a broken connection.
 */
export async function streamEvents(
  app: AppContext,
  request: RequestEnd,
  generation: Generation,
  format: StreamFormat,
  headers: ReplyHeaders,
): Promise<Reply> {
  const stream = new EventStream();
  let open: (() => void) | null = null;
  const opened = new Promise<void>(resolve => {
    open = resolve;
  });
  const onOutput = (index: number, output: RequestOutput) => {
    const events = format.output(index, output);
    stream.write(open === null ? events : format.opening() + events);
    open?.();
    open = null;
    return output.finished ? undefined : stream.ready();
  };
  const onFailure = (error: unknown) => {
    if (open !== null) throw error;
    const reason = toHttpError(request.signal.aborted ? request.signal.reason : error);
    app.log[reason.status >= 500 ? 'error' : 'info']({ requestId: request.requestId, err: error }, reason.message);
    stream.fail(format.failure?.(reason) ?? `data: ${errorBody(reason)}\n\n`);
  };
  const run = runAll(app, request, generation, 'delta', onOutput).then(() => stream.end(format.closing()), onFailure);
  await Promise.race([opened, run]);
  return eventReply(stream, headers);
}

/** What it returns is waited for before the next output of that prompt is taken. */
type OnOutput = (index: number, output: RequestOutput) => Promise<void> | undefined;

async function runAll(
  app: AppContext,
  request: RequestEnd,
  generation: Generation,
  outputKind: OutputKind,
  onOutput: OnOutput,
): Promise<void> {
  const { params, prompts } = generation;
  const { signal, stop } = signalFor(request.signal, prompts.length);
  const runs: Promise<void>[] = [];
  try {
    // All are queued before any runs: a prompt that is refused is refused before the first output.
    const options = { signal, requestId: request.requestId, loraRequest: app.adapters.request(generation.model) };
    const streams = prompts.map(prompt =>
      generation.embeds
        ? app.engine.embed(prompt, params, options)
        : app.engine.generate(prompt, params, { ...options, outputKind }),
    );
    for (const [index, outputs] of streams.entries()) runs.push(consume(outputs, output => onOutput(index, output)));
    await Promise.all(runs);
  } catch (error) {
    stop();
    await Promise.allSettled(runs);
    throw inTermsOf(generation.constraint, error);
  }
}

/** What ends all prompts when one of them fails. One alone has ended with its failure, and costs no signals. */
function signalFor(client: AbortSignal, numPrompts: number): { signal: AbortSignal; stop: () => void } {
  if (numPrompts === 1) return { signal: client, stop: () => {} };
  const failed = new AbortController();
  return { signal: AbortSignal.any([client, failed.signal]), stop: () => failed.abort() };
}

async function consume(
  outputs: AsyncIterable<RequestOutput>,
  onOutput: (output: RequestOutput) => Promise<void> | undefined,
): Promise<void> {
  let finished = false;
  for await (const output of outputs) {
    checkOutput(output);
    finished = output.finished;
    const wait = onOutput(output);
    if (wait !== undefined) await wait;
  }
  if (!finished) throw new EngineClosedError();
}

/** The engine reports a failed request in its output; a client must not take it for a short answer. */
function checkOutput(output: RequestOutput): void {
  if (output.error !== null) throw output.error;
  if (output.outputs.some(choice => choice.finishReason === 'error')) throw new EngineError('The request failed.');
  if (output.outputs.some(choice => choice.finishReason === 'abort'))
    throw new EngineClosedError('The request was aborted.');
}

/** Tells the client which of its fields had no effect. Names are cut and cleaned: they are the client's. */
export function ignoredHeader(ignored: readonly string[]): ReplyHeaders {
  if (ignored.length === 0) return {};
  const names = ignored.slice(0, 32).map(name => name.slice(0, 64).replace(/[^\w.-]/g, '?'));
  return { 'x-quire-ignored-fields': names.join(', ') };
}

/**
 * Runs `answer` with places in the queue, which are given back when the reply is over, and the work that goes on behind it, if
 * `answer` tells of some. Throws HttpError 429 when there are none.
 */
export async function withPlaces(
  app: AppContext,
  sequences: number,
  answer: (goesOn: (work: Promise<void>) => void) => Promise<Reply>,
): Promise<Reply> {
  const release = app.admission.admit(sequences);
  let work: Promise<void> | null = null;
  try {
    const reply = await answer(behind => {
      work = behind;
    });
    const over = reply.body instanceof EventStream ? reply.body.over : work;
    if (over === null) release();
    else void (over as Promise<void>).finally(release);
    return reply;
  } catch (error) {
    release();
    throw error;
  }
}
