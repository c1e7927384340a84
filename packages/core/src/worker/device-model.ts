import type { Bindings, Device, DeviceTensor, DType, Program, StepSizes, TensorSpec } from '../contract/contract.ts';
import type { ModelConfig } from '../models/config.ts';
import {
  buildModelProgram,
  buildRopeTable,
  cacheName,
  type LoadedWeights,
  loadWeights,
  maximalShape,
  type RowStateShape,
  type StateTensor,
  stateTensors,
  type WeightSupply,
} from '../models/index.ts';
import { planMemory } from '../program/index.ts';
import { type KvCacheSize, kvCacheSize } from './kv-cache-size.ts';
import type { DeltaLimits } from './state-programs.ts';
import {
  kvBudget,
  kvCacheDType,
  MAX_BIAS_WORDS,
  stepBudgets,
  type WorkerConfig,
  wantedModelLen,
} from './worker-config.ts';

const MAX_DELTA_WORDS = 1 << 16;
const MAX_DELTA_SEGMENTS = 1024;

export interface DeviceModelOptions {
  readonly device: Device;
  readonly modelConfig: ModelConfig;
  readonly engineConfig: WorkerConfig;
  readonly weights: WeightSupply;
}

/** A model on a device: weights, KV cache and row state, and its program, ready to be compiled. */
export class DeviceModel {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly program: Program;
  readonly maxSizes: StepSizes;
  readonly rowState: RowStateShape;
  readonly kvCache: KvCacheSize;
  readonly kvDtype: DType;
  readonly blockSize: number;
  readonly deltaLimits: DeltaLimits;
  readonly maxLogprobs: number;
  readonly #weights: LoadedWeights;
  readonly #tensors = new Map<string, DeviceTensor>();

  /** Loads the weights, then sizes the cache from what is left. Frees everything when it fails. */
  static async load(options: DeviceModelOptions): Promise<DeviceModel> {
    const { device, modelConfig, engineConfig } = options;
    const weights = await loadWeights(device, modelConfig, options.weights, engineConfig.dtype);
    try {
      return new DeviceModel(options, weights);
    } catch (error) {
      weights.dispose();
      throw error;
    }
  }

  private constructor({ device, modelConfig, engineConfig }: DeviceModelOptions, weights: LoadedWeights) {
    this.device = device;
    this.config = modelConfig;
    this.#weights = weights;
    this.blockSize = engineConfig.blockSize;
    const { maxTensorBytes } = device.info.limits;
    this.deltaLimits = {
      words: Math.min(MAX_DELTA_WORDS, Math.floor(maxTensorBytes / 4)),
      segments: MAX_DELTA_SEGMENTS,
    };
    this.kvDtype = kvCacheDType(engineConfig, modelConfig, device);
    const plan = (maxModelLen: number) => planStep(engineConfig, modelConfig, device, maxModelLen);
    const build = ({ rowState, maxSizes }: StepPlan, numBlocks: number) =>
      buildModelProgram(modelConfig, {
        maxSizes,
        rowState,
        weights: weights.layout,
        blockSize: engineConfig.blockSize,
        numBlocks,
        kvDtype: this.kvDtype,
      });
    const wanted = wantedModelLen(engineConfig, modelConfig);
    const reserve = () => temporaryBytes(build(plan(wanted.length), 1), device);
    this.kvCache = kvCacheSize({
      ...modelConfig,
      blockSize: engineConfig.blockSize,
      dtype: this.kvDtype,
      maxNumSeqs: engineConfig.maxNumSeqs,
      maxModelLen: wanted.length,
      fitMaxModelLen: wanted.fit,
      maxTensorBytes,
      budget: kvBudget(engineConfig, device, reserve),
    });
    const planned = plan(this.kvCache.maxModelLen);
    this.rowState = planned.rowState;
    this.maxSizes = planned.maxSizes;
    this.maxLogprobs = planned.maxLogprobs;
    this.program = build(planned, this.kvCache.numBlocks);
    try {
      this.#createTensors();
    } catch (error) {
      this.#disposeTensors();
      throw error;
    }
  }

  /** Creates a tensor that lives as long as the model. */
  createTensor(spec: TensorSpec): DeviceTensor {
    const tensor = this.device.createTensor(spec);
    this.#tensors.set(spec.name, tensor);
    return tensor;
  }

  /** Creates a tensor that programs share, with every size of the step at its maximum. */
  createState({ name, dtype, shape }: StateTensor): DeviceTensor {
    return this.createTensor({ name, dtype, shape: maximalShape(shape, this.maxSizes), usage: 'state' });
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  tensor(name: string): DeviceTensor {
    const tensor = this.#tensors.get(name) ?? this.#weights.tensors[name];
    if (tensor === undefined) throw new Error(`No tensor is called ${name}.`);
    return tensor;
  }

  /** The model's tensors for each external of a program. */
  bindings(program: Program): Bindings {
    const externals = Object.entries(program.tensors).filter(([, { kind }]) => kind === 'external');
    return Object.fromEntries(externals.map(([name]) => [name, this.tensor(name)]));
  }

  dispose(): void {
    this.#disposeTensors();
    this.#weights.dispose();
  }

  #createTensors(): void {
    const { numLayers, numKvHeads, headDim, rope } = this.config;
    for (let layer = 0; layer < numLayers; layer++) {
      const shape = [this.kvCache.numBlocks, numKvHeads, this.blockSize, headDim];
      for (const kind of ['k', 'v'] as const) {
        this.createTensor({ name: cacheName(kind, layer), dtype: this.kvDtype, shape, usage: 'kvCache' });
      }
    }
    for (const tensor of Object.values(stateTensors(this.rowState, this.config.vocabSize))) this.createState(tensor);
    if (rope === null) return;
    const { maxModelLen } = this.rowState;
    const shape = [maxModelLen, rope.rotaryDim];
    const table = this.createTensor({ name: 'ropeTable', dtype: 'f32', shape, usage: 'weight' });
    this.device.write(table, buildRopeTable(rope, maxModelLen));
  }

  #disposeTensors(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose();
    this.#tensors.clear();
  }
}

interface StepPlan {
  readonly rowState: RowStateShape;
  readonly maxSizes: StepSizes;
  readonly maxLogprobs: number;
}

function planStep(config: WorkerConfig, model: ModelConfig, device: Device, maxModelLen: number): StepPlan {
  const budgets = stepBudgets(config, model, device, maxModelLen);
  const maxBlocksPerSequence = Math.ceil(maxModelLen / config.blockSize);
  return {
    maxLogprobs: budgets.maxLogprobs,
    rowState: {
      maxRows: budgets.maxNumSeqs,
      maxBlocksPerSequence,
      maxModelLen,
      ringSlots: budgets.ringSlots,
      maxBiasWords: MAX_BIAS_WORDS,
    },
    maxSizes: {
      tokens: budgets.maxNumBatchedTokens,
      sequences: budgets.maxNumSeqs,
      decodeSequences: budgets.maxNumSeqs,
      samples: budgets.maxSamples,
      blocksPerSequence: maxBlocksPerSequence,
      maxQueryTokens: Math.min(budgets.maxNumBatchedTokens, maxModelLen),
      deltaSegments: 0,
    },
  };
}

/** Bytes that the temporaries of a program will take, and as much again as its logits for the sampler's. */
function temporaryBytes(program: Program, device: Device): number {
  const plan = planMemory(program, { alignment: 256, maxArenaBytes: device.info.limits.maxTensorBytes });
  const logits = program.tensors.logits!.shape[1] as number;
  return plan.arenas.reduce((sum, bytes) => sum + bytes, 0) + 8 * logits * program.maxSizes.samples;
}
