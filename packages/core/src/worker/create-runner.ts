import type { Device } from '../contract/contract.ts';
import { ConfigError } from '../errors.ts';
import type { ModelConfig } from '../models/config.ts';
import type { WeightSupply } from '../models/index.ts';
import type { Checkpoint, WeightCache } from '../weights/types.ts';
import { type DeviceModel, LoadedModel } from './device-model.ts';
import { type ModelRunner, openRunner } from './model-runner.ts';
import { ProgramSet } from './program-set.ts';
import { type StageTimer, untimed } from './stage-timer.ts';
import { longestModelLen, preparesGraphs, type WorkerConfig, wantedModelLen } from './worker-config.ts';

/** A model and where its weights come from. */
export interface ModelSupply {
  readonly modelConfig: ModelConfig;
  /** null: seeded stand-ins instead of weights (`loadFormat: 'dummy'`). */
  readonly checkpoint: Checkpoint | null;
  /** Where converted weights are kept. Default: they are converted at every load. */
  readonly weightCache?: WeightCache;
}

/** A smaller model of the same vocabulary that guesses ahead. */
export interface DraftSupply extends ModelSupply {
  /** Tokens that it guesses in one submit. */
  readonly numSpeculativeTokens: number;
}

export interface ModelRunnerOptions extends ModelSupply {
  readonly device: Device;
  readonly engineConfig: WorkerConfig;
  /** Its cache holds as many tokens as the model's, and both are paid for by one budget. Default: none. */
  readonly draft?: DraftSupply | null;
  /** Default: nobody is told. */
  readonly timeStage?: StageTimer;
}

/**
 * Loads a model onto a device and compiles its programs. Throws ModelFormatError when the checkpoint does not fit the
 * configuration, ConfigError when the device has no room, DeviceError when it fails; nothing stays allocated then.
 */
export async function createModelRunner(options: ModelRunnerOptions): Promise<ModelRunner> {
  const { device, engineConfig, draft: supply = null, timeStage = untimed } = options;
  const draft = supply === null ? null : await ofDraft(() => loadDraft(supply, options));
  const timer = preparesGraphs(engineConfig, device) ? timeStage : null;
  let guesser: ModelRunner | null = null;
  try {
    const model = await (await loadModel(options, device, engineConfig, timeStage)).place(draft);
    if (draft !== null) guesser = await openBeside(model, draft, timer);
    return await openRunner(model, timer, guesser);
  } catch (error) {
    if (guesser === null) draft?.dispose();
    else await guesser.dispose();
    throw error;
  }
}

/** `checkpoint` null: seeded stand-ins. */
export function weightSupply(
  checkpoint: Checkpoint | null,
  { seed }: Pick<WorkerConfig, 'seed'>,
  cache?: WeightCache,
): WeightSupply {
  if (checkpoint === null) return { dummySeed: Number(seed & 0x7fffffffn) };
  return { checkpoint, ...(cache ? { cache } : {}) };
}

/** Brings weights onto a device, and finds out what the model will take beside them and its cache. */
function loadModel(
  { modelConfig, checkpoint, weightCache }: ModelSupply,
  device: Device,
  engineConfig: WorkerConfig,
  timeStage: StageTimer,
): Promise<LoadedModel> {
  const weights = weightSupply(checkpoint, engineConfig, weightCache);
  const rehearse = async (model: DeviceModel, measure: () => void) => {
    const programs = new ProgramSet(model);
    try {
      await programs.compileCommon();
      if (preparesGraphs(engineConfig, device)) await programs.prepare(untimed);
      await device.synchronize();
      measure();
    } finally {
      programs.dispose();
    }
  };
  return LoadedModel.load({ device, modelConfig, engineConfig, weights, rehearse, timeStage });
}

async function loadDraft(supply: DraftSupply, options: ModelRunnerOptions): Promise<LoadedModel> {
  const { device, modelConfig: model, engineConfig, timeStage = untimed } = options;
  checkDraft(supply.modelConfig, model, device);
  const { length } = wantedModelLen(engineConfig, model);
  const config: WorkerConfig = {
    ...engineConfig,
    quantization: null,
    maxModelLen: Math.min(length, longestModelLen(supply.modelConfig)),
    numSchedulerSteps: supply.numSpeculativeTokens,
    maxLogprobs: 0,
    swapSpace: 0,
    enableLora: false,
  };
  return loadModel(supply, device, config, (name, run, detail) => timeStage(`draft ${name}`, run, detail));
}

/** Throws ConfigError for a draft model that can guess nothing for the model. */
function checkDraft(draft: ModelConfig, model: ModelConfig, device: Device): void {
  if (draft.vocabSize !== model.vocabSize) {
    throw new ConfigError(
      `its vocabulary has ${draft.vocabSize} tokens, that of the model ${model.vocabSize}. Name one with the same.`,
    );
  }
  if (model.pooling !== null)
    throw new ConfigError('the model makes embeddings: there is nothing to guess. Leave it out.');
  if (draft.pooling !== null)
    throw new ConfigError('it makes embeddings, and samples no tokens. Name one that generates.');
  if (device.fill !== undefined) {
    throw new ConfigError(
      'ranks that are processes of their own load one model. Use ranks of one process, or leave it out.',
    );
  }
}

/** As many blocks as the model has, and no longer requests. Frees the model when it fails. */
async function openBeside(model: DeviceModel, draft: LoadedModel, timer: StageTimer | null): Promise<ModelRunner> {
  const { numBlocks, maxModelLen } = model.plan.kvCache;
  const changes = { numGpuBlocksOverride: numBlocks - 1, maxModelLen: Math.min(maxModelLen, draft.maxModelLen) };
  try {
    const placed = await ofDraft(() => draft.place(null, changes));
    return await openRunner(placed, timer);
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Names the option in what is wrong with the draft model. */
async function ofDraft<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(`speculativeConfig: the draft model: ${error.message}`, 'speculativeConfig');
  }
}
