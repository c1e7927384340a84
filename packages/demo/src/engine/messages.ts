/** What the page and its engine say to each other. Everything is plain data that can be cloned. */
import type { ChatMessage, FinishReason, SamplingParams, StepTrace } from '@quire/core';
import type { OpName } from '@quire/core/contract';

/** Models that come with the page. */
export const bundledModels = ['tiny-llama', 'tiny-opt'] as const;
export type BundledModel = (typeof bundledModels)[number];

/** Where a model comes from. */
export type ModelChoice =
  | { readonly kind: 'bundled'; readonly name: BundledModel }
  | { readonly kind: 'files'; readonly name: string; readonly files: readonly File[] }
  | { readonly kind: 'url'; readonly url: string };

/** Told of a file that is being fetched; sizes in bytes. */
export type OnProgress = (what: string, loaded: number, total: number | null) => void;

/** `auto`: a WebGPU adapter that is a GPU, else the reference device, which is faster than an adapter in software. */
export type DeviceChoice = 'auto' | 'webgpu' | 'reference';

export interface EngineSettings {
  readonly device: DeviceChoice;
  /** KV blocks of 16 tokens, the null block not counted. */
  readonly numBlocks: number;
  readonly maxNumSeqs: number;
  /** Tokens of a step: a longer prompt is computed in chunks. */
  readonly maxNumBatchedTokens: number;
}

/** How steps follow each other. `delay`: milliseconds between them. */
export interface Pace {
  readonly paused: boolean;
  readonly delay: number;
}

export type Prompt = { readonly text: string } | { readonly messages: readonly ChatMessage[] };

export type ToEngine =
  | { readonly kind: 'load'; readonly model: ModelChoice; readonly settings: EngineSettings }
  | { readonly kind: 'generate'; readonly id: string; readonly prompt: Prompt; readonly params: SamplingParams }
  | { readonly kind: 'abort'; readonly id: string }
  | { readonly kind: 'pace'; readonly pace: Pace }
  | { readonly kind: 'step' }
  | { readonly kind: 'forget' }
  /** `op`: one operation; null: all. */
  | { readonly kind: 'crosscheck'; readonly op: OpName | null; readonly broken: boolean }
  | { readonly kind: 'loseDevice' };

/** What runs. Fields that may be absent are told of an engine in this tab. */
export interface EngineInfo {
  readonly model: string;
  readonly architecture?: string;
  readonly deviceKind: string;
  readonly deviceName: string;
  /** The adapter computes on the processor. */
  readonly software: boolean;
  /** Why the device is not a GPU, or null. */
  readonly deviceNotice?: string | null;
  readonly maxModelLen: number;
  readonly vocabSize: number;
  /** Blocks of the pool, the null block included. */
  readonly numBlocks: number;
  readonly blockSize: number;
  /** Without one, conversations are continued as plain text. */
  readonly hasChatTemplate: boolean;
  /** Bytes that the engine holds on the device. */
  readonly deviceBytes?: number;
  readonly loadMilliseconds?: number;
}

/** One completion of a request, as far as it grew. */
export interface CompletionDelta {
  readonly index: number;
  readonly text: string;
  readonly numTokens: number;
  readonly finishReason: FinishReason | null;
}

export interface CrosscheckRow {
  readonly op: string;
  readonly cases: number;
  readonly failed: number;
  /** Largest error over its tolerance; null where it is not a number. */
  readonly worst: number | null;
  readonly message: string | null;
}

export type FromEngine =
  | { readonly kind: 'loading'; readonly what: string; readonly loaded: number; readonly total: number | null }
  | { readonly kind: 'ready'; readonly info: EngineInfo }
  | { readonly kind: 'failed'; readonly message: string }
  /** A server wants a key, or another one. */
  | { readonly kind: 'locked' }
  /** A server cannot be reached; it is tried again. */
  | { readonly kind: 'disconnected'; readonly message: string }
  /** Nothing runs and nothing waits on a server. */
  | { readonly kind: 'idle' }
  | { readonly kind: 'trace'; readonly trace: StepTrace }
  | {
      readonly kind: 'output';
      readonly id: string;
      readonly numPromptTokens: number;
      readonly outputs: readonly CompletionDelta[];
      readonly finished: boolean;
      /** Milliseconds from arrival to the first token, once it is there. */
      readonly timeToFirstToken: number | null;
      readonly error: string | null;
    }
  | { readonly kind: 'refused'; readonly id: string; readonly message: string }
  | { readonly kind: 'recovered'; readonly recoveries: number }
  | { readonly kind: 'crosscheck'; readonly row: CrosscheckRow }
  | { readonly kind: 'crosschecked'; readonly cases: number; readonly failed: number; readonly broken: boolean }
  | { readonly kind: 'crosscheckFailed'; readonly message: string };
