import type { Device, FloatDType } from '../contract/contract.ts';
import type { LoadAdapter } from '../engine/adapters.ts';
import { AsyncLLM } from '../engine/async-llm.ts';
import type { BlockObserver } from '../engine/block-observer.ts';
import type { EngineConfig } from '../engine/engine-config.ts';
import type { EngineObserver } from '../engine/engine-stats.ts';
import { chooseRunner } from '../engine/pooler-config.ts';
import { ConfigError } from '../errors.ts';
import type { GenerationConfig, ModelConfig } from '../models/config.ts';
import { loadAdapter } from '../models/index.ts';
import { parseGenerationConfig, parseModelConfig } from '../models/parse-config.ts';
import type { GrammarPort } from '../structured-output/grammar-messages.ts';
import { GrammarService } from '../structured-output/grammar-service.ts';
import { hasTokenizer, loadTokenizer } from '../tokenizer/index.ts';
import type { Tokenizer } from '../tokenizer/types.ts';
import type { Checkpoint } from '../weights/types.ts';
import { createModelRunner, type DraftSupply, type ModelRunner, type StageTimer } from '../worker/index.ts';
import { checkDevice } from './check-device.ts';
import { openDraft } from './draft-supply.ts';
import type { ModelInputs } from './model-inputs.ts';
import { readCheckpoint } from './read-checkpoint.ts';

export interface LoadEngineOptions extends ModelInputs {
  /** Stays the caller's: disposing the engine frees what it holds on the device, not the device. */
  device: Device;
  /** Opens another device in the place of one that is lost. It stays the caller's too. Default: the engine closes with its device. */
  reopenDevice?: () => Promise<Device>;
  config: EngineConfig;
  observer?: EngineObserver;
  /** Told what the prefix cache holds. */
  blockObserver?: BlockObserver;
  /** Of the start of the model: weights, profile, kv cache, tuning, graphs. */
  timeStage?: StageTimer;
}

export interface LoadedEngine {
  readonly asyncLLM: AsyncLLM;
  /** null: prompts are token ids, and outputs have no text. */
  readonly tokenizer: Tokenizer | null;
  readonly modelConfig: ModelConfig;
  readonly generationConfig: GenerationConfig;
  /** Ids that end a request unless it ignores EOS. */
  readonly eosTokenIds: readonly number[];
  /** For what the engine itself does not need: size of the cache, op counts, profiles. The one that was opened first. */
  readonly runner: ModelRunner;
  /** Sentences on what the model folder says and is not done, and on what is odd in it. */
  readonly notices: readonly string[];
}

/**
 * Opens a model folder, loads the model onto a device, and starts an engine over it. Throws ModelFormatError for a folder that
 * is broken or not supported, ConfigError for options that do not fit, DeviceError when the device fails.
 */
export async function loadEngine(options: LoadEngineOptions): Promise<LoadedEngine> {
  const { source, config } = options;
  checkDevice(config, options.device.info);
  const notices: string[] = [];
  const onNotice = (notice: string) => notices.push(notice);
  const modelConfig = chooseRunner(await parseModelConfig(source, onNotice), config.runner, config.poolerConfig);
  const generationConfig = await readGenerationConfig(options, modelConfig);
  const tokenizer = await openTokenizer(options, onNotice);
  const checkpoint = await readCheckpoint(source, config);
  checkpoint?.notices?.forEach(onNotice);
  const stops = eosTokenIds(modelConfig, generationConfig, tokenizer);
  const grammars = openGrammars(options.openGrammarThread, tokenizer, modelConfig.vocabSize, stops);
  const draft = await openDraft(options, tokenizer);
  const open = executorOpener(options, { modelConfig, checkpoint, draft });
  const runner = await open('same');
  try {
    const asyncLLM = new AsyncLLM({
      executor: runner,
      reopen: open,
      config,
      tokenizer,
      generationConfig,
      eosTokenIds: stops,
      ...(config.enableLora ? { loadAdapter: adapterLoader(options, modelConfig, runner) } : {}),
      ...(grammars ? { grammars } : {}),
      ...(options.observer ? { observer: options.observer } : {}),
      ...(options.blockObserver ? { blockObserver: options.blockObserver } : {}),
    });
    return { asyncLLM, tokenizer, modelConfig, generationConfig, eosTokenIds: stops, runner, notices };
  } catch (error) {
    await runner.dispose();
    throw error;
  }
}

/** Loads the models onto the device that there is, or onto another one because that is lost. */
function executorOpener(
  { device: first, reopenDevice, config, weightCache, timeStage }: LoadEngineOptions,
  models: { modelConfig: ModelConfig; checkpoint: Checkpoint | null; draft: DraftSupply | null },
): (which: 'same' | 'new') => Promise<ModelRunner> {
  let device = first;
  return async which => {
    if (which === 'new' && reopenDevice === undefined) throw await device.lost;
    if (which === 'new') device = await reopenDevice!();
    const cache = weightCache ? { weightCache } : {};
    const timer = timeStage ? { timeStage } : {};
    return createModelRunner({ device, engineConfig: config, ...models, ...cache, ...timer });
  };
}

/** Sources that are opened here are closed here. */
function adapterLoader(
  { openAdapter, config, device }: LoadEngineOptions,
  modelConfig: ModelConfig,
  runner: ModelRunner,
): LoadAdapter {
  const dtype = runner.dtypes.activations as FloatDType;
  const target = { config: modelConfig, maxRank: config.maxLoraRank, dtype, ranks: device.info.ranks };
  return async location => {
    if (typeof location !== 'string') return loadAdapter(location, target);
    if (openAdapter === undefined) {
      throw new ConfigError(`There are no folders here. Give the adapter ${location} as an open source.`, 'loraPath');
    }
    const source = await openAdapter(location);
    try {
      return await loadAdapter(source, target);
    } finally {
      await source.close();
    }
  };
}

/** The ids that end a request count in any case; `vllm` leaves out the defaults of sampling. */
async function readGenerationConfig(options: LoadEngineOptions, model: ModelConfig): Promise<GenerationConfig> {
  const { source, generationConfigSource = source, config } = options;
  const given = await parseGenerationConfig(generationConfigSource, model.vocabSize);
  return config.generationConfig === 'vllm' ? { ...noDefaults, eosTokenIds: given.eosTokenIds } : given;
}

const noDefaults: GenerationConfig = {
  eosTokenIds: null,
  temperature: null,
  topP: null,
  topK: null,
  minP: null,
  repetitionPenalty: null,
  maxNewTokens: null,
};

/** Threads are started by the first request that needs them. */
function openGrammars(
  open: (() => GrammarPort) | undefined,
  tokenizer: Tokenizer | null,
  vocabSize: number,
  stops: readonly number[],
): GrammarService | null {
  if (open === undefined || tokenizer === null) return null;
  return new GrammarService({ open, tokenizer, vocabSize, eosTokenIds: stops });
}

/** A model of stand-ins needs no tokenizer. */
async function openTokenizer(
  options: LoadEngineOptions,
  onNotice: (notice: string) => void,
): Promise<Tokenizer | null> {
  const { source, tokenizerSource = source, config, chatTemplate } = options;
  if (config.skipTokenizerInit && chatTemplate !== undefined) {
    throw new ConfigError('chatTemplate needs a tokenizer, but skipTokenizerInit is true.', 'chatTemplate');
  }
  if (config.skipTokenizerInit) return null;
  if (config.loadFormat !== 'dummy' || (await hasTokenizer(tokenizerSource))) {
    return loadTokenizer(tokenizerSource, chatTemplate);
  }
  onNotice(`${tokenizerSource.location} has no tokenizer: prompts must be token ids.`);
  return null;
}

/** generation_config.json overrides config.json; the tokenizer's own EOS always counts. */
function eosTokenIds(model: ModelConfig, generation: GenerationConfig, tokenizer: Tokenizer | null): number[] {
  const ids = new Set(generation.eosTokenIds ?? model.eosTokenIds);
  const ownId = tokenizer?.eosTokenId ?? null;
  if (ownId !== null) ids.add(ownId);
  return [...ids].filter(id => id < model.vocabSize);
}
