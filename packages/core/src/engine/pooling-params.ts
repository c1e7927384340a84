import { InvalidRequestError } from '../errors.ts';
import { suggestion, toCamelCase } from '../names.ts';
import type { SamplingParams } from '../sampling/sampling-params.ts';
import type { ExecutorLimits, PoolingLimits } from '../worker/types.ts';
import type { RequestMetrics, RequestOutput } from './outputs.ts';

/** What a caller may ask of an embedding. Names are vLLM's in camelCase (snake_case is accepted too). */
export interface PoolingParams {
  /** Only the first of the embedding, before it is normalised (Kusupati et al. 2022). null: all. */
  dimensions?: number | null;
  /** Divide the embedding by its length. Default: as the model says. */
  normalize?: boolean | null;
  /** Keeps only the last tokens of the text: this many; -1: as many as the context holds. */
  truncatePromptTokens?: number | null;
  /** Lower is earlier, where the engine schedules by priority. Default 0. */
  priority?: number;
  /** Requests under different salts share no cached prefix. */
  cacheSalt?: string | null;
}

/** Those of them that the engine must know. */
export type EmbedParams = Pick<SamplingParams, 'truncatePromptTokens' | 'priority' | 'cacheSalt'>;

/** The embedding of one text. */
export interface EmbeddingOutput {
  requestId: string;
  prompt: string | null;
  promptTokenIds: readonly number[];
  embedding: Float32Array;
  numCachedTokens: number;
  metrics: RequestMetrics;
}

/** How an embedding is made of what was pooled. */
export type EmbeddingForm = Readonly<{ dimensions: number | null; normalize: boolean }>;

const names = ['dimensions', 'normalize', 'truncatePromptTokens', 'priority', 'cacheSalt'] as const;
const aliases: Readonly<Record<string, string>> = { useActivation: 'normalize' };

/** Throws InvalidRequestError for unknown parameters, and lengths that the model does not have. The rest is checked with the prompt. */
export function resolvePooling(
  params: PoolingParams,
  pooling: PoolingLimits,
): { form: EmbeddingForm; rest: EmbedParams } {
  const given = new Map<string, unknown>();
  for (const [spelled, value] of Object.entries(params)) {
    const camel = toCamelCase(spelled);
    const name = aliases[camel] ?? camel;
    if (!(names as readonly string[]).includes(name)) {
      throw new InvalidRequestError(`Unknown pooling parameter "${spelled}".${suggestion(name, names)}`, spelled);
    }
    if (value !== undefined && value !== null) given.set(name, value);
  }
  const { dimensions = null, normalize = pooling.normalize, ...rest } = Object.fromEntries(given);
  if (typeof normalize !== 'boolean') {
    throw new InvalidRequestError(`normalize must be true or false, got ${JSON.stringify(normalize)}.`, 'normalize');
  }
  return { form: { dimensions: checkDimensions(dimensions, pooling), normalize }, rest };
}

function checkDimensions(dimensions: unknown, { width, dimensions: allowed }: PoolingLimits): number | null {
  if (dimensions === null) return null;
  const fits = Number.isInteger(dimensions) && (dimensions as number) >= 1 && (dimensions as number) <= width;
  if (fits && (allowed?.includes(dimensions as number) ?? true)) return dimensions as number;
  const expected = allowed === null ? `an integer from 1 to ${width}` : `one of ${allowed.join(', ')}`;
  throw new InvalidRequestError(`dimensions must be ${expected}, got ${JSON.stringify(dimensions)}.`, 'dimensions');
}

/** The embedding f32 [dimensions] of what a request pooled f32 [width]: cut, then normalised. A zero vector stays one. */
export function embeddingOf(pooled: Float32Array, { dimensions, normalize }: EmbeddingForm): Float32Array {
  const embedding = pooled.slice(0, dimensions ?? pooled.length);
  if (!normalize) return embedding;
  let squares = 0;
  for (const value of embedding) squares += value * value;
  const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0;
  return embedding.map(value => value * scale);
}

/** Throws what ended the request, where it gave no embedding. */
export function embeddingOutput(output: RequestOutput, form: EmbeddingForm): EmbeddingOutput {
  const { requestId, prompt, promptTokenIds, numCachedTokens, metrics, pooled, error } = output;
  if (error !== null) throw error;
  if (pooled === null) throw new InvalidRequestError('The request ended without an embedding.');
  return { requestId, prompt, promptTokenIds, embedding: embeddingOf(pooled, form), numCachedTokens, metrics };
}

/** Throws InvalidRequestError where an engine makes embeddings, and is asked for text. */
export function requireGeneration({ pooling = null }: Pick<ExecutorLimits, 'pooling'>): void {
  if (pooling === null) return;
  throw new InvalidRequestError(
    'This engine makes embeddings: use embed, or start it with runner "generate".',
    'model',
    'wrong_task',
  );
}

/** The reverse. */
export function requirePooling({ pooling = null }: Pick<ExecutorLimits, 'pooling'>): PoolingLimits {
  if (pooling !== null) return pooling;
  throw new InvalidRequestError(
    'This engine generates text: use generate, or start it with runner "pooling".',
    'model',
    'wrong_task',
  );
}
