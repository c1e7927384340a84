import type { EngineOptions, ExecutorLimits, GenerationConfig } from '@quire/core';
import type { DeviceInfo } from '@quire/core/contract';
import { z } from 'zod';
import type { TransferReport } from '../node/transfer-progress.ts';
import type { EngineDescription } from '../serve/open-engine.ts';
import { errorSchema } from './errors.ts';
import { FrameError } from './frames.ts';

/** The heads of frames. Those that come from the engine are checked: the front end must outlive whatever that sends. */

/** What the engine is to open. */
export interface BootHead {
  readonly options: Omit<EngineOptions, 'seed'>;
  /** A whole number. */
  readonly seed: string;
  readonly device: string;
}

export interface AbortHead {
  readonly request: number;
  /** null: all of the request. */
  readonly sequence: number | null;
}

export type EngineMethod =
  | 'pause'
  | 'resume'
  | 'sleep'
  | 'wakeUp'
  | 'resetPrefixCache'
  | 'watch'
  | 'addLora'
  | 'removeLora'
  | 'dispose';

export interface CallHead {
  readonly id: number;
  readonly method: EngineMethod;
  readonly discardWeights?: boolean;
  /** Whether traces of steps are to be sent. */
  readonly isWatched?: boolean;
  /** Of the adapter that is to be added or removed. */
  readonly loraName?: string;
  readonly loraPath?: string;
}

const count = z.number().int().nonnegative();
const size = z.number().int().positive();

const limits = z.object({
  maxNumSeqs: size,
  maxModelLen: size,
  maxNumBatchedTokens: size,
  maxSamples: size,
  blockSize: size,
  numBlocks: size,
  numHostBlocks: count,
  blockBytes: z.number().nonnegative(),
  vocabSize: size,
  maxLogprobs: z.number().int(),
  maxBiasWords: count,
  ringSlots: size,
  numAdapterSlots: size.optional(),
  pooling: z
    .object({
      type: z.enum(['last', 'mean']),
      normalize: z.boolean(),
      dimensions: z.array(size).nullable(),
      width: size,
    })
    .nullish(),
}) satisfies z.ZodType<ExecutorLimits>;

const optional = z.number().nullable();
const generationConfig = z.object({
  eosTokenIds: z.array(count).nullable(),
  temperature: optional,
  topP: optional,
  topK: optional,
  minP: optional,
  repetitionPenalty: optional,
  maxNewTokens: optional,
}) satisfies z.ZodType<GenerationConfig>;

const description = z.object({
  device: z.custom<DeviceInfo>(value => typeof value === 'object' && value !== null),
  dtypes: z.object({ weights: z.array(z.string()), activations: z.string(), kvCache: z.string() }),
  kvCache: z.object({ tokens: z.number(), fullLengthRequests: z.number() }),
  notices: z.array(z.string()),
}) satisfies z.ZodType<EngineDescription>;

export const loadingSchema = z.object({
  bytes: z.number(),
  totalBytes: z.number(),
  bytesPerSecond: z.number(),
}) satisfies z.ZodType<TransferReport>;

export const stageSchema = z.object({ name: z.string(), ms: z.number() });

/** An engine that takes requests. */
export interface Ready {
  readonly limits: ExecutorLimits;
  readonly eosTokenIds: readonly number[];
  readonly generationConfig: GenerationConfig;
  readonly description: EngineDescription;
}

export const readySchema = z.object({
  limits,
  eosTokenIds: z.array(count),
  generationConfig,
  description,
}) satisfies z.ZodType<Ready>;

/** The engine could not be opened; or it is at an end, and no other can take its place. */
export const refusedSchema = z.object({ error: errorSchema });
export const failureSchema = z.object({ request: count, sequence: count.nullable(), error: errorSchema });
export const resultSchema = z.object({ id: count, error: errorSchema.nullable() });

/** Throws FrameError, with the field that is wrong. */
export function checkHead<T>(schema: z.ZodType<T>, head: unknown, kind: string): T {
  const checked = schema.safeParse(head);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  throw new FrameError(`A ${kind} frame is wrong in ${issue?.path.join('.') || 'its head'}: ${issue?.message}.`);
}
