import { ConfigError } from '../errors.ts';
import { show, suggestion, toCamelCase, toSnakeCase } from '../names.ts';

/** Options of an engine as a caller gives them. Names and defaults are vLLM's, in camelCase; snake_case is accepted too. */
export interface EngineOptions {
  /** Folder or URL of the model: the name it is served under unless servedModelName says otherwise. */
  model?: string;
  /** Folder of the tokenizer when it is not the model's. */
  tokenizer?: string | null;
  /** Load no tokenizer: prompts are token ids, and outputs have no text. Default false. */
  skipTokenizerInit?: boolean;
  /**
   * Dtype of weights and activations: auto (the checkpoint's), float32, float16 (half), bfloat16. Activations are float32 all the
   * same where the device does not compute in that dtype, and with auto on a device in software. Default auto.
   */
  dtype?: string;
  /** Base of the seeds of requests that set none. Default 0. */
  seed?: number | bigint;
  /** Longest sequence, prompt and output together. Default: what the model and the cache allow. */
  maxModelLen?: number | null;
  /** Tokens per KV block. Default 16. */
  blockSize?: number;
  /** Requests that run at once. Default 256. */
  maxNumSeqs?: number;
  /** Tokens computed in one step, over all requests. Default 2048. */
  maxNumBatchedTokens?: number;
  /** Dtype of the KV cache: auto (that of the activations), float32, float16, bfloat16. Default auto. */
  kvCacheDtype?: string;
  /** Share of the device's memory that weights and cache may take, where the device tells its memory. Default 0.9. */
  gpuMemoryUtilization?: number;
  /** Bytes of the KV cache, instead of a size derived from the device. */
  kvCacheMemoryBytes?: number | null;
  /** KV blocks, instead of a number derived from bytes. The null block is not counted. */
  numGpuBlocksOverride?: number | null;
  /** Default true. */
  enablePrefixCaching?: boolean;
  /** Default true. */
  enableChunkedPrefill?: boolean;
  /** Most log-probabilities that a request may ask per token; -1: as many as the vocabulary holds. Default 20. */
  maxLogprobs?: number;
  /** Submits kept in flight while the next is scheduled. Default 2. */
  runAhead?: number;
  /** Most decode steps in one submit when nothing needs the host between them. Default 4. */
  numSchedulerSteps?: number;
  /**
   * auto, or dummy: seeded stand-ins instead of weights, to measure without a checkpoint. A folder with config.json alone will do
   * for dummy: without a tokenizer in it, skipTokenizerInit is implied. Default auto.
   */
  loadFormat?: string;
  /** Names that the server answers to. Default: `model`. */
  servedModelName?: string | readonly string[];
}

/** Options checked, with defaults applied. null: decided when the model and the device are known. */
export interface EngineConfig {
  readonly model: string;
  readonly tokenizer: string | null;
  readonly skipTokenizerInit: boolean;
  readonly dtype: 'auto' | 'f32' | 'f16' | 'bf16';
  readonly seed: bigint;
  readonly maxModelLen: number | null;
  readonly blockSize: number;
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  readonly kvCacheDtype: 'auto' | 'f32' | 'f16' | 'bf16';
  readonly gpuMemoryUtilization: number;
  readonly kvCacheMemoryBytes: number | null;
  readonly numGpuBlocksOverride: number | null;
  readonly enablePrefixCaching: boolean;
  readonly enableChunkedPrefill: boolean;
  readonly maxLogprobs: number;
  readonly runAhead: number;
  readonly numSchedulerSteps: number;
  readonly loadFormat: 'auto' | 'dummy';
  readonly servedModelName: readonly string[];
}

const DTYPES = {
  auto: 'auto',
  f32: 'f32',
  float: 'f32',
  float32: 'f32',
  f16: 'f16',
  half: 'f16',
  float16: 'f16',
  bf16: 'bf16',
  bfloat16: 'bf16',
} as const;
const LOAD_FORMATS = { auto: 'auto', dummy: 'dummy' } as const;

type Check<T> = (value: unknown, option: string) => T;
type Checks = {
  readonly [K in Exclude<keyof EngineConfig, 'servedModelName'>]: {
    default: EngineConfig[K];
    check: Check<EngineConfig[K]>;
  };
};

const checks: Checks = {
  model: { default: '', check: text },
  tokenizer: { default: null, check: orNull(text) },
  skipTokenizerInit: { default: false, check: boolean },
  dtype: { default: 'auto', check: oneOf(DTYPES) },
  seed: { default: 0n, check: seed },
  maxModelLen: { default: null, check: orNull(integer(2, 2 ** 24)) },
  blockSize: { default: 16, check: integer(1, 1024) },
  maxNumSeqs: { default: 256, check: integer(1, 65_536) },
  maxNumBatchedTokens: { default: 2048, check: integer(1, 2 ** 24) },
  kvCacheDtype: { default: 'auto', check: oneOf(DTYPES) },
  gpuMemoryUtilization: { default: 0.9, check: share },
  kvCacheMemoryBytes: { default: null, check: orNull(integer(1, 2 ** 50)) },
  numGpuBlocksOverride: { default: null, check: orNull(integer(1, 2 ** 30)) },
  enablePrefixCaching: { default: true, check: boolean },
  enableChunkedPrefill: { default: true, check: boolean },
  maxLogprobs: { default: 20, check: integer(-1, 2 ** 24) },
  runAhead: { default: 2, check: integer(1, 64) },
  numSchedulerSteps: { default: 4, check: integer(1, 64) },
  loadFormat: { default: 'auto', check: oneOf(LOAD_FORMATS) },
};

/** Names of all engine options, in camelCase: for flags of a command line. */
export const engineOptionNames: readonly string[] = [...Object.keys(checks), 'servedModelName'];

/** Throws ConfigError: unknown option (names the nearest), wrong type, out of range. undefined means the default. */
export function parseEngineConfig(options: EngineOptions | Readonly<Record<string, unknown>>): EngineConfig {
  const given = byCamelCase(options);
  const names = servedNames(given.get('servedModelName'));
  const entries = Object.entries(checks).map(([name, { default: fallback, check }]) => {
    const value = given.get(name);
    return [name, value === undefined ? fallback : check(value, name)];
  });
  const config = Object.fromEntries(entries) as Omit<EngineConfig, 'servedModelName'>;
  return Object.freeze({ ...config, servedModelName: names ?? [config.model] });
}

function byCamelCase(options: object): Map<string, unknown> {
  const given = new Map<string, unknown>();
  for (const [spelled, value] of Object.entries(options)) {
    const name = toCamelCase(spelled);
    if (!engineOptionNames.includes(name)) {
      const known = spelled.includes('_') ? engineOptionNames.map(toSnakeCase) : engineOptionNames;
      throw new ConfigError(`Unknown engine option "${spelled}".${suggestion(spelled, known)}`, spelled);
    }
    if (given.has(name)) throw new ConfigError(`Engine option ${name} is given twice, also as "${spelled}".`, name);
    given.set(name, value);
  }
  return given;
}

function servedNames(value: unknown): readonly string[] | null {
  if (value === undefined || value === null) return null;
  const names = Array.isArray(value) ? value : [value];
  if (names.length > 0 && names.every(name => typeof name === 'string' && name !== '')) return names as string[];
  return refuse('servedModelName', 'a name or a list of names', value);
}

function refuse(option: string, expected: string, value: unknown): never {
  throw new ConfigError(`${option} must be ${expected}, got ${show(value)}.`, option);
}

function text(value: unknown, option: string): string {
  return typeof value === 'string' && value !== '' ? value : refuse(option, 'a non-empty string', value);
}

function boolean(value: unknown, option: string): boolean {
  return typeof value === 'boolean' ? value : refuse(option, 'true or false', value);
}

function share(value: unknown, option: string): number {
  return typeof value === 'number' && value > 0 && value <= 1 ? value : refuse(option, 'a number in (0, 1]', value);
}

function integer(min: number, max: number): Check<number> {
  return (value, option) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? (value as number)
      : refuse(option, `an integer in [${min}, ${max}]`, value);
}

function seed(value: unknown, option: string): bigint {
  const whole = typeof value === 'bigint' || Number.isSafeInteger(value);
  return whole ? BigInt.asUintN(64, BigInt(value as number | bigint)) : refuse(option, 'a 64-bit integer', value);
}

function orNull<T>(check: Check<T>): Check<T | null> {
  return (value, option) => (value === null ? null : check(value, option));
}

function oneOf<T extends Readonly<Record<string, string>>>(names: T): Check<T[keyof T]> {
  return (value, option) =>
    typeof value === 'string' && Object.hasOwn(names, value)
      ? names[value as keyof T]
      : refuse(option, `one of ${Object.keys(names).join(', ')}`, value);
}
