import type { CacheDType, FloatDType } from '../contract/contract.ts';
import { ConfigError } from '../errors.ts';
import type { Quantization } from '../models/index.ts';
import { suggestion, toCamelCase, toSnakeCase } from '../names.ts';
import { type EngineArgName, engineArgs, engineOptionNames } from './engine-args.ts';
import type { KvEventsConfig } from './kv-events-config.ts';
import type { PoolerConfig } from './pooler-config.ts';
import type { SchedulingPolicy } from './priority.ts';
import type { SpeculativeConfig } from './speculative-config.ts';

/**
 * Options of an engine as a caller gives them. Names and meanings are vLLM's, in camelCase; snake_case is accepted too. What each
 * does, its default, and where it cannot be honoured: `engineArgs`, and docs/engine-args.md.
 */
export interface EngineOptions {
  model?: string;
  tokenizer?: string | null;
  tokenizerMode?: string;
  skipTokenizerInit?: boolean;
  trustRemoteCode?: boolean;
  revision?: string | null;
  downloadDir?: string | null;
  loadFormat?: string;
  useNpWeights?: boolean | null;
  useDummyWeights?: boolean | null;
  runner?: string;
  task?: string | null;
  poolerConfig?: object | null;
  generationConfig?: string;
  chatTemplate?: string | null;
  servedModelName?: string | readonly string[] | null;
  dtype?: string;
  quantization?: string | null;
  quantMode?: string | null;
  kvCacheDtype?: string;
  seed?: number | bigint;
  batchInvariant?: boolean;
  maxModelLen?: number | string | null;
  blockSize?: number;
  gpuMemoryUtilization?: number;
  kvCacheMemoryBytes?: number | string | null;
  numGpuBlocksOverride?: number | null;
  swapSpace?: number;
  enablePrefixCaching?: boolean;
  maxNumSeqs?: number;
  maxNumBatchedTokens?: number | string;
  enableChunkedPrefill?: boolean;
  longPrefillTokenThreshold?: number | string;
  schedulingPolicy?: string;
  watermark?: number;
  maxNumQueuedReqs?: number | null;
  maxNumQueuedTokens?: number | string | null;
  asyncScheduling?: boolean;
  runAhead?: number;
  numSchedulerSteps?: number;
  maxLogprobs?: number;
  tensorParallelSize?: number;
  pipelineParallelSize?: number;
  distributedExecutorBackend?: string | null;
  workerUseRay?: boolean;
  enableLora?: boolean;
  maxLoras?: number;
  maxLoraRank?: number;
  maxCpuLoras?: number | null;
  enforceEager?: boolean;
  lazyGraphs?: boolean | null;
  speculativeConfig?: object | null;
  kvEventsConfig?: object | null;
  disableLogStats?: boolean;
}

/** Options checked, with defaults applied and old names resolved. null: decided when the model and the device are known. */
export interface EngineConfig {
  readonly model: string;
  readonly tokenizer: string | null;
  readonly skipTokenizerInit: boolean;
  readonly revision: string | null;
  readonly downloadDir: string | null;
  readonly loadFormat: 'auto' | 'safetensors' | 'pt' | 'dummy' | 'npcache';
  readonly runner: 'auto' | 'generate' | 'pooling';
  readonly poolerConfig: PoolerConfig | null;
  /** auto, vllm, or a folder. */
  readonly generationConfig: string;
  readonly chatTemplate: string | null;
  readonly servedModelName: readonly string[];
  readonly dtype: 'auto' | 'f32' | 'f16' | 'bf16';
  readonly quantization: Quantization | null;
  readonly kvCacheDtype: 'auto' | FloatDType | CacheDType;
  readonly seed: bigint;
  readonly batchInvariant: boolean;
  readonly maxModelLen: number | null;
  readonly blockSize: number;
  readonly gpuMemoryUtilization: number;
  readonly kvCacheMemoryBytes: number | null;
  readonly numGpuBlocksOverride: number | null;
  /** GiB */
  readonly swapSpace: number;
  readonly enablePrefixCaching: boolean;
  readonly maxNumSeqs: number;
  readonly maxNumBatchedTokens: number;
  readonly enableChunkedPrefill: boolean;
  readonly longPrefillTokenThreshold: number;
  readonly schedulingPolicy: SchedulingPolicy;
  readonly watermark: number;
  readonly maxNumQueuedReqs: number | null;
  readonly maxNumQueuedTokens: number | null;
  readonly runAhead: number;
  readonly numSchedulerSteps: number;
  readonly maxLogprobs: number;
  readonly tensorParallelSize: number;
  readonly pipelineParallelSize: number;
  /** Whether ranks are threads or processes; null: as a launcher has it. */
  readonly distributedExecutorBackend: 'uni' | 'external_launcher' | null;
  readonly enableLora: boolean;
  readonly maxLoras: number;
  readonly maxLoraRank: number;
  readonly maxCpuLoras: number | null;
  readonly enforceEager: boolean;
  readonly lazyGraphs: boolean | null;
  readonly speculativeConfig: SpeculativeConfig | null;
  readonly kvEventsConfig: KvEventsConfig | null;
  readonly disableLogStats: boolean;
}

type Checked = { readonly [N in EngineArgName]: ReturnType<(typeof engineArgs)[N]['check']> };

/**
 * Throws ConfigError: unknown option (names the nearest), wrong type, out of range, options that exclude each other, or what cannot
 * be honoured on any device. undefined means the default.
 */
export function parseEngineConfig(options: EngineOptions | Readonly<Record<string, unknown>>): EngineConfig {
  const given = byCamelCase(options);
  const entries = Object.entries(engineArgs).map(([name, { default: fallback, check }]) => {
    const value = given.get(name);
    return [name, value === undefined ? fallback : check(value, name)];
  });
  const checked = Object.fromEntries(entries) as Checked;
  if (checked.longPrefillTokenThreshold > 0 && !checked.enableChunkedPrefill) {
    refuseTogether('longPrefillTokenThreshold', 'bounds the chunks of a prompt, but enableChunkedPrefill is false');
  }
  if (checked.maxCpuLoras !== null && checked.maxCpuLoras < checked.maxLoras) {
    refuseTogether('maxCpuLoras', `is ${checked.maxCpuLoras}, below maxLoras (${checked.maxLoras})`);
  }
  return Object.freeze({
    ...checked,
    loadFormat: loadFormatOf(checked, given),
    quantization: quantizationOf(checked),
    runner: runnerOf(checked),
    servedModelName: checked.servedModelName ?? [checked.model],
    ...stepsAhead(checked, given),
  });
}

function byCamelCase(options: object): Map<string, unknown> {
  const known: readonly string[] = engineOptionNames;
  const given = new Map<string, unknown>();
  for (const [spelled, value] of Object.entries(options)) {
    const name = toCamelCase(spelled);
    if (!known.includes(name)) {
      const likely = spelled.includes('_') ? known.map(toSnakeCase) : known;
      throw new ConfigError(`Unknown engine option "${spelled}".${suggestion(spelled, likely)}`, spelled);
    }
    if (given.has(name)) throw new ConfigError(`Engine option ${name} is given twice, also as "${spelled}".`, name);
    given.set(name, value);
  }
  return given;
}

function quantizationOf({ quantization, quantMode }: Checked): Quantization | null {
  if (quantization !== null && quantMode !== null && quantization !== quantMode) {
    refuseTogether('quantMode', `is another name of quantization, and says ${quantMode} beside ${quantization}`);
  }
  return quantization ?? quantMode;
}

function runnerOf({ runner, task, poolerConfig }: Checked): EngineConfig['runner'] {
  if (task !== null && runner !== 'auto' && task !== runner) {
    refuseTogether('task', `is another name of runner, and says ${task} beside ${runner}`);
  }
  const asked = task ?? runner;
  if (poolerConfig !== null && asked === 'generate') {
    refuseTogether('poolerConfig', 'makes embeddings, but runner is generate');
  }
  return asked;
}

/** load_format under its own name, or under one of the old ones. */
function loadFormatOf(
  { loadFormat, useNpWeights, useDummyWeights }: Checked,
  given: ReadonlyMap<string, unknown>,
): EngineConfig['loadFormat'] {
  const old = [
    { name: 'useNpWeights', set: useNpWeights, format: 'npcache' },
    { name: 'useDummyWeights', set: useDummyWeights, format: 'dummy' },
  ] as const;
  let format: EngineConfig['loadFormat'] = loadFormat;
  let from = given.get('loadFormat') === undefined ? null : 'loadFormat';
  for (const { name, set, format: named } of old) {
    if (set !== true) continue;
    if (from !== null && format !== named)
      refuseTogether(name, `means loadFormat "${named}", but ${from} says "${format}"`);
    format = named;
    from = name;
  }
  return format;
}

/** Without asynchronous scheduling, every step waits for the tokens of the one before. */
function stepsAhead(
  { asyncScheduling, runAhead, numSchedulerSteps }: Checked,
  given: ReadonlyMap<string, unknown>,
): Pick<EngineConfig, 'runAhead' | 'numSchedulerSteps'> {
  if (asyncScheduling) return { runAhead, numSchedulerSteps };
  for (const name of ['runAhead', 'numSchedulerSteps'] as const) {
    const value = given.get(name);
    if (value !== undefined && value !== 1)
      refuseTogether(name, 'must be 1 or absent, because asyncScheduling is false');
  }
  return { runAhead: 1, numSchedulerSteps: 1 };
}

function refuseTogether(option: string, why: string): never {
  throw new ConfigError(`${option} ${why}.`, option);
}
