import type { Device } from '../contract/contract.ts';
import type { LoraRequest } from '../engine/adapters.ts';
import type { AsyncLLM } from '../engine/async-llm.ts';
import { type EngineConfig, type EngineOptions, parseEngineConfig } from '../engine/engine-config.ts';
import type { RequestOutput } from '../engine/outputs.ts';
import {
  type EmbeddingOutput,
  embeddingOutput,
  type PoolingParams,
  requirePooling,
  resolvePooling,
} from '../engine/pooling-params.ts';
import type { PromptInput } from '../engine/prompt.ts';
import type { RequestStream } from '../engine/request-stream.ts';
import { EngineClosedError, InvalidRequestError } from '../errors.ts';
import type { SamplingParams } from '../sampling/sampling-params.ts';
import type { ChatMessage, ChatTemplateOptions, Tokenizer } from '../tokenizer/types.ts';
import type { ModelSource } from '../weights/types.ts';
import { type LoadedEngine, loadEngine } from './load-engine.ts';
import { type LLMRuntime, openModelInputs } from './model-inputs.ts';

export interface LLMOptions extends Omit<EngineOptions, 'model'> {
  /** A location that the runtime can open, or an open source (which stays the caller's). */
  model: string | ModelSource;
  /** A name that the runtime knows (default `auto`), or an open device (which stays the caller's). */
  device?: string | Device;
}

/** How far a call to `generate` or `chat` is. */
export interface Progress {
  finished: number;
  total: number;
  /** Tokens of finished requests. */
  promptTokens: number;
  generationTokens: number;
  seconds: number;
}

export interface RunOptions {
  /** Called after each request that finishes. */
  onProgress?: (progress: Progress) => void;
  /** Aborts the call: it rejects with the signal's reason. */
  signal?: AbortSignal;
  /** The adapter that computes the call, which must be loaded. Default: the model alone does. */
  loraRequest?: Pick<LoraRequest, 'loraName'> | null;
}

/**
 * Offline inference: prompts in, finished outputs out, batched continuously. The model is loaded by the first call (or `load`);
 * options are checked by the constructor.
 */
export class LLM implements AsyncDisposable {
  readonly config: EngineConfig;
  readonly #model: string | ModelSource;
  readonly #device: string | Device;
  readonly #runtime: LLMRuntime;
  readonly #opened: { dispose(): Promise<void> }[] = [];
  #loading: Promise<LoadedEngine> | null = null;
  #disposal: Promise<void> | null = null;

  /** Throws ConfigError for an unknown option (naming the nearest) or a value out of range. */
  constructor(options: LLMOptions, runtime: LLMRuntime) {
    const { model, device = 'auto', ...engineOptions } = options;
    this.#model = model;
    this.#device = device;
    this.#runtime = runtime;
    this.config = parseEngineConfig({ ...engineOptions, model: typeof model === 'string' ? model : model.location });
  }

  /** Loads the model now rather than with the first call. A failed load can be tried again. */
  load(): Promise<LoadedEngine> {
    if (this.#disposal !== null) return Promise.reject(new EngineClosedError());
    this.#loading ??= this.#load().catch(async error => {
      await this.#closeOpened();
      this.#loading = null;
      throw error;
    });
    return this.#loading;
  }

  /** Throws InvalidRequestError when there is none (`skipTokenizerInit`). */
  async tokenizer(): Promise<Tokenizer> {
    const { tokenizer } = await this.load();
    if (tokenizer !== null) return tokenizer;
    throw new InvalidRequestError('This engine has no tokenizer: prompts are token ids, through generate.', 'prompt');
  }

  /**
   * Completes each prompt; outputs are in the order of the prompts. One set of sampling parameters for all, or one each. Throws
   * InvalidRequestError before anything runs when a prompt or parameter is wrong. An output with finishReason `error` carries
   * the error of that request alone.
   */
  async generate(
    prompts: PromptInput | readonly PromptInput[],
    samplingParams: SamplingParams | readonly SamplingParams[] = {},
    options: RunOptions = {},
  ): Promise<RequestOutput[]> {
    options.signal?.throwIfAborted();
    const { asyncLLM } = await this.load();
    return generateAll(asyncLLM, listPrompts(prompts), samplingParams, options);
  }

  /** Answers one conversation, or each of several, through the model's chat template. */
  async chat(
    messages: readonly ChatMessage[] | readonly (readonly ChatMessage[])[],
    samplingParams: SamplingParams | readonly SamplingParams[] = {},
    options: RunOptions & ChatTemplateOptions = {},
  ): Promise<RequestOutput[]> {
    options.signal?.throwIfAborted();
    const tokenizer = await this.tokenizer();
    const { asyncLLM } = await this.load();
    const { onProgress: _, signal: __, loraRequest: ___, ...template } = options;
    const prompts = listConversations(messages).map(conversation => ({
      prompt: tokenizer.renderChat(conversation, template),
      promptTokenIds: tokenizer.encodeChat(conversation, template),
    }));
    return generateAll(asyncLLM, prompts, samplingParams, options);
  }

  /**
   * The embedding of each text, in their order. Throws InvalidRequestError before anything runs when a prompt or parameter is wrong, or
   * the model generates text; and the error of the first request that failed.
   */
  async embed(
    prompts: PromptInput | readonly PromptInput[],
    params: PoolingParams = {},
    options: RunOptions = {},
  ): Promise<EmbeddingOutput[]> {
    options.signal?.throwIfAborted();
    const { asyncLLM } = await this.load();
    const { form, rest } = resolvePooling(params, requirePooling(asyncLLM.limits));
    const { loraRequest = null } = options;
    const begin: Begin = (prompt, _, signal) =>
      asyncLLM.embed(prompt, rest, { loraRequest, ...(signal ? { signal } : {}) });
    const outputs = await runAll(
      begin,
      listPrompts(prompts).map(prompt => [prompt, {}]),
      options,
    );
    return outputs.map(output => embeddingOutput(output, form));
  }

  /** Loads an adapter that calls may ask for by `loraRequest`. Rejects as AsyncLLM.addLora does. */
  async addLora(request: LoraRequest): Promise<void> {
    await (await this.load()).asyncLLM.addLora(request);
  }

  /** Requests that began with it go on; no other one may. */
  async removeLora(loraName: string): Promise<void> {
    await (await this.load()).asyncLLM.removeLora(loraName);
  }

  /** Frees the KV cache, and with `discardWeights` the weights too; calls that run wait for `wakeUp`. */
  async sleep(options: { discardWeights?: boolean } = {}): Promise<void> {
    await (await this.load()).asyncLLM.sleep(options);
  }

  async wakeUp(): Promise<void> {
    await (await this.load()).asyncLLM.wakeUp();
  }

  /** Ends what is running and frees everything on the device. */
  dispose(): Promise<void> {
    this.#disposal ??= this.#dispose();
    return this.#disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #load(): Promise<LoadedEngine> {
    const keep = (resource: { close(): Promise<void> }) => this.#opened.push({ dispose: () => resource.close() });
    const inputs = await openModelInputs(this.config, this.#model, this.#runtime, keep);
    const device = await this.#openDevice();
    // A device that the caller opened is the caller's to replace.
    const reopen = typeof this.#device === 'string' ? { reopenDevice: () => this.#openDevice() } : {};
    return loadEngine({ ...inputs, device, ...reopen, config: this.config });
  }

  async #openDevice(): Promise<Device> {
    if (typeof this.#device !== 'string') return this.#device;
    const device = await this.#runtime.openDevice(this.#device, this.config);
    this.#opened.push(device);
    return device;
  }

  async #dispose(): Promise<void> {
    const loaded = await this.#loading?.catch(() => null);
    await loaded?.asyncLLM.dispose();
    await this.#closeOpened();
  }

  /** Last opened, first closed. */
  async #closeOpened(): Promise<void> {
    for (const opened of this.#opened.splice(0).reverse()) await opened.dispose();
  }
}

async function generateAll(
  asyncLLM: AsyncLLM,
  prompts: readonly PromptInput[],
  samplingParams: SamplingParams | readonly SamplingParams[],
  options: RunOptions,
): Promise<RequestOutput[]> {
  const params = paramsOf(samplingParams, prompts.length);
  await Promise.all([...new Set(params)].map(each => asyncLLM.prepare(each)));
  options.signal?.throwIfAborted();
  const { loraRequest = null } = options;
  const begin: Begin = (prompt, each, signal) =>
    asyncLLM.generate(prompt, each, { outputKind: 'final', loraRequest, ...(signal ? { signal } : {}) });
  return runAll(
    begin,
    prompts.map((prompt, i) => [prompt, params[i]!]),
    options,
  );
}

/** Queues one request. */
type Begin = (prompt: PromptInput, params: SamplingParams, signal: AbortSignal | undefined) => RequestStream;
type Asked = readonly [prompt: PromptInput, params: SamplingParams];

async function runAll(
  begin: Begin,
  requests: readonly Asked[],
  { onProgress, signal }: RunOptions,
): Promise<RequestOutput[]> {
  const start = performance.now();
  const progress: Progress = { finished: 0, total: requests.length, promptTokens: 0, generationTokens: 0, seconds: 0 };
  const streams = addAll(begin, requests, signal);
  const outputs = streams.map(async stream => {
    const output = await lastOutput(stream);
    progress.finished++;
    progress.promptTokens += output.promptTokenIds.length;
    for (const { tokenIds } of output.outputs) progress.generationTokens += tokenIds.length;
    progress.seconds = (performance.now() - start) / 1000;
    onProgress?.({ ...progress });
    return output;
  });
  const settled = await Promise.allSettled(outputs);
  signal?.throwIfAborted();
  return settled.map(result => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

/** Queues all prompts or none. */
function addAll(begin: Begin, requests: readonly Asked[], signal: AbortSignal | undefined): RequestStream[] {
  const streams: RequestStream[] = [];
  try {
    for (const [prompt, params] of requests) streams.push(begin(prompt, params, signal));
  } catch (error) {
    for (const stream of streams) stream.abort();
    throw error;
  }
  return streams;
}

async function lastOutput(stream: RequestStream): Promise<RequestOutput> {
  for await (const output of stream) return output;
  throw new EngineClosedError('The engine ended a request without an output.');
}

function paramsOf(params: SamplingParams | readonly SamplingParams[], count: number): readonly SamplingParams[] {
  if (!Array.isArray(params)) return Array.from({ length: count }, () => params as SamplingParams);
  if (params.length === count) return params;
  throw new InvalidRequestError(
    `There are ${count} prompts but ${params.length} sets of sampling parameters. Give one for all, or one each.`,
    'sampling_params',
  );
}

/** A list of numbers is one prompt of token ids. */
function listPrompts(prompts: PromptInput | readonly PromptInput[]): readonly PromptInput[] {
  const isList = Array.isArray(prompts) && !(prompts.length > 0 && prompts.every(entry => typeof entry === 'number'));
  return isList ? (prompts as readonly PromptInput[]) : [prompts as PromptInput];
}

function listConversations(
  messages: readonly ChatMessage[] | readonly (readonly ChatMessage[])[],
): readonly (readonly ChatMessage[])[] {
  return Array.isArray(messages[0])
    ? (messages as readonly (readonly ChatMessage[])[])
    : [messages as readonly ChatMessage[]];
}
