import type {
  EngineStats,
  ExecutorLimits,
  GenerateOptions,
  LoraRequest,
  PromptInput,
  RequestOutput,
  SamplingParams,
  Tokenizer,
} from '@quire/core';
import { InvalidRequestError } from '@quire/core';
import type { ServingEngine } from '../../packages/server/src/app/context.ts';

/** What is one token although it is long, as the markers of reasoning are; ids are those of characters that no test uses. */
const markers = new Map([
  ['<think>', 0xe100],
  ['</think>', 0xe101],
]);

/** Of the text that was asked for last: streams of one large piece after another would take all of the processor. */
let latest: { text: string; ids: number[] } = { text: '', ids: [] };

function idsOf(text: string): number[] {
  if (latest.text !== text) {
    const ids = text
      .split(/(<\/?think>)/)
      .flatMap(part => markers.get(part) ?? Array.from(part, char => char.charCodeAt(0)));
    latest = { text, ids };
  }
  return latest.ids;
}

function textOf(id: number): string {
  return [...markers].find(([, marker]) => marker === id)?.[0] ?? String.fromCharCode(id);
}

/** One token per character: its code unit. Its template knows tools, calls them as Hermes does, and reasons. */
export const characterTokenizer: Tokenizer = {
  vocabSize: 65_536,
  bosTokenId: null,
  eosTokenId: null,
  specialTokenIds: new Set(),
  hasChatTemplate: true,
  chatTemplate: {
    source: 'tools <tool_call> "arguments"',
    names: new Set(['messages', 'tools', 'enable_thinking', 'reasoning_effort']),
  },
  encode: (text, options) => {
    if (options?.maxTokens !== undefined && text.length > options.maxTokens) {
      throw new InvalidRequestError('The prompt is too long.', 'prompt', 'context_length_exceeded');
    }
    return idsOf(text);
  },
  decode: ids => Array.from(ids, textOf).join(''),
  tokenBytes: id => new TextEncoder().encode(String.fromCharCode(id)),
  tokenToId: token => markers.get(token) ?? token.charCodeAt(0),
  renderChat: messages => messages.map(m => m.content).join('\n'),
  encodeChat: (messages, options) => characterTokenizer.encode(messages.map(m => m.content).join('\n'), options ?? {}),
  createDetokenizer: () => ({ push: id => String.fromCharCode(id), flush: () => '' }),
};

/** What one request does: each entry is a delta; an Error ends the stream. */
export type Script = (request: FakeRequest) => AsyncIterable<string | Error>;

export interface FakeRequest {
  prompt: PromptInput;
  params: SamplingParams;
  signal: AbortSignal | undefined;
  /** Its outputs were left before their end, which aborts it. */
  wasLeft: boolean;
  adapter: string | null;
}

/** Behaves as AsyncLLM does towards the server: validation at once, outputs as deltas or at the end, `abort` when the signal says so. */
export class FakeEngine implements ServingEngine {
  closed = false;
  acceptedPerPosition: number[] = [];
  running = 0;
  numPlaces = 0;
  readonly requests: FakeRequest[] = [];
  readonly #script: Script;
  readonly limits: ExecutorLimits = {
    maxNumSeqs: 8,
    maxModelLen: 4096,
    maxNumBatchedTokens: 512,
    maxSamples: 8,
    blockSize: 16,
    numBlocks: 64,
    numHostBlocks: 0,
    blockBytes: 1024,
    vocabSize: 65_536,
    maxLogprobs: 20,
    maxBiasWords: 64,
    ringSlots: 4,
  };

  constructor(script: Script) {
    this.#script = script;
  }

  checkQueue(): void {}

  get numRunning(): number {
    return this.running;
  }

  isSleeping = false;
  async sleep(): Promise<void> {
    this.isSleeping = true;
  }
  async wakeUp(): Promise<void> {
    this.isSleeping = false;
  }

  readonly loras: string[] = [];
  /** Folders that were loaded. */
  readonly loraPaths: string[] = [];
  async addLora({ loraName, loraPath }: LoraRequest): Promise<void> {
    if (this.loras.includes(loraName)) throw new InvalidRequestError('It is loaded already.', 'lora_name');
    this.loras.push(loraName);
    this.loraPaths.push(loraPath as string);
  }
  async removeLora(loraName: string): Promise<void> {
    this.loras.splice(this.loras.indexOf(loraName), 1);
  }

  generate(prompt: PromptInput, params: SamplingParams, options: GenerateOptions): AsyncIterable<RequestOutput> {
    const adapter = options.loraRequest?.loraName ?? null;
    const request = { prompt, params, signal: options.signal, wasLeft: true, adapter };
    this.requests.push(request);
    this.running++;
    return this.#run(request, options.outputKind === 'delta');
  }

  embed(): AsyncIterable<RequestOutput> {
    throw new InvalidRequestError('This engine generates text.', 'model');
  }

  async *#run(request: FakeRequest, deltas: boolean): AsyncIterable<RequestOutput> {
    const { promptTokenIds } = request.prompt as { promptTokenIds: number[] };
    let text = '';
    try {
      for await (const piece of this.#script(request)) {
        if (request.signal?.aborted) {
          yield output(promptTokenIds, '', 'abort');
          return;
        }
        if (piece instanceof Error) throw piece;
        text += piece;
        if (deltas) yield output(promptTokenIds, piece, null);
      }
      request.wasLeft = false;
      yield output(promptTokenIds, deltas ? '' : text, request.signal?.aborted ? 'abort' : 'stop');
    } finally {
      this.running--;
    }
  }

  stats(): EngineStats {
    return {
      numRequestsRunning: this.running,
      numRequestsWaiting: 0,
      numPlaces: this.numPlaces,
      runningAdapters: this.requests.flatMap(({ adapter }) => adapter ?? []),
      waitingAdapters: [],
      kvCacheUsage: 0,
      numPreemptions: 0,
      prefixCacheQueries: 0,
      prefixCacheHits: 0,
      draftTokens: 0,
      acceptedTokens: 0,
      numDrafts: 0,
      acceptedPerPosition: this.acceptedPerPosition,
      numRecoveries: 0,
      hostTierBytes: { toHost: 0, toDevice: 0 },
      promptTokens: 0,
      cachedPromptTokens: 0,
      generationTokens: 0,
      numSteps: 0,
      lastProgress: performance.now(),
      finished: { stop: 0, length: 0, abort: 0, error: 0 },
    };
  }
}

function output(promptTokenIds: number[], text: string, finishReason: 'stop' | 'abort' | null): RequestOutput {
  const tokenIds = idsOf(text);
  return {
    requestId: '0',
    prompt: null,
    promptTokenIds,
    promptLogprobs: null,
    outputs: [{ index: 0, text, tokenIds, cumulativeLogprob: null, logprobs: null, finishReason, stopReason: null }],
    finished: finishReason !== null,
    numCachedTokens: 0,
    metrics: { arrival: 0, firstScheduled: null, firstToken: null, finished: null },
    pooled: null,
    error: null,
  };
}

/** Pieces with a pause between them; ends early when the request is aborted. */
export async function* pieces(
  request: FakeRequest,
  count: number,
  piece: string,
  pauseMs: number,
): AsyncIterable<string> {
  for (let i = 0; i < count; i++) {
    yield piece;
    await new Promise(resolve => setTimeout(resolve, pauseMs));
    if (request.signal?.aborted) return;
  }
}
