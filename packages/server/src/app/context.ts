import type {
  EmbedParams,
  EngineStats,
  ExecutorLimits,
  GenerateOptions,
  PromptInput,
  RequestOutput,
  SamplingParams,
  Tokenizer,
} from '@quire/core';
import { HttpError } from '../http/errors.ts';
import type { StreamLimits } from '../http/event-stream.ts';
import type { ChatFeatures } from '../openai/chat-features.ts';
import type { AdapterEngine, Adapters } from './adapters.ts';
import type { Admission } from './admission.ts';

/** What the server needs of AsyncLLM. */
export interface ServingEngine extends AdapterEngine {
  readonly limits: ExecutorLimits;
  /** It was disposed or has failed. */
  readonly closed: boolean;
  generate(prompt: PromptInput, params: SamplingParams, options: GenerateOptions): AsyncIterable<RequestOutput>;
  /** One output, with what was pooled. Throws as generate does; of an engine that generates text, always. */
  embed(
    prompt: PromptInput,
    params: EmbedParams,
    options: Omit<GenerateOptions, 'outputKind'>,
  ): AsyncIterable<RequestOutput>;
  /** It said lately that it lives. Absent where it could not say so without this program standing still too. */
  readonly isResponsive?: boolean;
  /** Throws QueueFullError when a request would be refused now whatever it is. */
  checkQueue(): void;
  stats(): EngineStats;
  /** Of `stats`: sequences that are computed now. */
  readonly numRunning: number;
  /** Of `stats`: places for further sequences, which those that wait already will take first. */
  readonly numPlaces: number;
  readonly isSleeping: boolean;
  sleep(options: { discardWeights: boolean }): Promise<void>;
  wakeUp(): Promise<void>;
}

/** What the server needs of a tokenizer. Encoding may happen on another thread. */
export interface ServingTokenizer
  extends Pick<
    Tokenizer,
    'vocabSize' | 'hasChatTemplate' | 'chatTemplate' | 'specialTokenIds' | 'decode' | 'tokenBytes' | 'tokenToId'
  > {
  encode(...args: Parameters<Tokenizer['encode']>): number[] | Promise<number[]>;
  encodeChat(...args: Parameters<Tokenizer['encodeChat']>): number[] | Promise<number[]>;
}

/** Where /metrics comes from. */
export interface Exposition {
  readonly contentType: string;
  expose(): Promise<string>;
}

type LogLine = (fields: object, message: string) => void;
/** What the handlers need of a log; pino's loggers are such. */
export interface AppLog {
  debug: LogLine;
  info: LogLine;
  error: LogLine;
}

export const silentLog: AppLog = { debug: () => {}, info: () => {}, error: () => {} };

/** What the handlers of one server share. */
export interface AppContext {
  readonly engine: ServingEngine;
  readonly tokenizer: ServingTokenizer;
  /** Names that the model answers to; the first is shown. */
  readonly modelNames: readonly string[];
  /** Adapters, which are models by names of their own. */
  readonly adapters: Adapters;
  /** How the model calls tools and reasons. */
  readonly features: ChatFeatures;
  /** Unix seconds when the model was loaded. */
  readonly created: number;
  /** Changes when the same request may get another answer: another version, model or shape of the engine. */
  readonly fingerprint: string;
  /** Fields without effect are errors. */
  readonly strict: boolean;
  /** Whether requests may put the engine to sleep. */
  readonly enableSleepMode: boolean;
  readonly maxBodyBytes: number;
  readonly streamLimits: StreamLimits;
  readonly admission: Admission;
  /** null: there is no /metrics. */
  readonly metrics: Exposition | null;
  readonly log: AppLog;
  /** Whether new requests are taken. */
  ready(): boolean;
}

/** The name to answer with. Throws HttpError 404 for a model that is not served; an absent or empty name means the one that is. */
export function servedModel(context: AppContext, asked: string | null | undefined): string {
  const [first = ''] = context.modelNames;
  if (asked === undefined || asked === null || asked === '') return first;
  const names = [...context.modelNames, ...context.adapters.names];
  if (names.includes(asked)) return asked;
  const shown = asked.length > 80 ? `${asked.slice(0, 80)}...` : asked;
  const message = `The model "${shown}" does not exist. This server has ${names.join(', ')}.`;
  throw new HttpError(404, message, { param: 'model', code: 'model_not_found' });
}
