import type { Bindings, Device, DeviceTensor, DType, Program, TensorSpec } from '../contract/contract.ts';
import type { ModelConfig } from '../models/config.ts';
import {
  buildRopeTable,
  cacheTensors,
  checkStages,
  type LoadedWeights,
  loadWeights,
  maximalShape,
  planShards,
  ropeTables,
  type StateTensor,
  shardConfig,
  stageOfLayer,
  stateTensors,
  type WeightSupply,
} from '../models/index.ts';
import { chooseDTypes, type ModelDTypes } from './model-dtypes.ts';
import { checkWorkerConfig, type ModelPlan, planModel } from './model-plan.ts';
import type { WorkerConfig } from './worker-config.ts';

export interface DeviceModelOptions {
  readonly device: Device;
  readonly modelConfig: ModelConfig;
  readonly engineConfig: WorkerConfig;
  readonly weights: WeightSupply;
  /** Default: chosen for the device. */
  readonly dtypes?: ModelDTypes;
}

/** A model on a device: weights, KV cache and row state, and the plan of its program, ready to be compiled. */
export class DeviceModel {
  readonly device: Device;
  /** With the heads and the width that one rank of a group computes. */
  readonly config: ModelConfig;
  readonly plan: ModelPlan;
  readonly #weights: LoadedWeights;
  readonly #tensors = new Map<string, DeviceTensor>();

  /** Loads the weights, then sizes the cache from what is left. Frees everything when it fails. */
  static async load(options: DeviceModelOptions): Promise<DeviceModel> {
    const { device, modelConfig, engineConfig, weights: supply } = options;
    const dtypes = options.dtypes ?? chooseDTypes(engineConfig, modelConfig, device);
    checkStages(modelConfig, device.info.stages);
    const config = shardConfig(modelConfig, planShards(modelConfig, device.info.ranks));
    checkWorkerConfig(engineConfig, config, device);
    const weights = await loadWeights(device, modelConfig, supply, dtypes.weights, dtypes.quantization);
    try {
      const plan = planModel(engineConfig, config, device, dtypes, weights.layout);
      return new DeviceModel(device, config, plan, weights);
    } catch (error) {
      weights.dispose();
      throw error;
    }
  }

  private constructor(device: Device, config: ModelConfig, plan: ModelPlan, weights: LoadedWeights) {
    this.device = device;
    this.config = config;
    this.plan = plan;
    this.#weights = weights;
    try {
      this.#createCaches();
      for (const tensor of Object.values(stateTensors(plan.rowState, config.vocabSize))) this.createState(tensor);
      this.#createRopeTables();
    } catch (error) {
      this.#disposeTensors();
      throw error;
    }
  }

  /** The dtypes that weights have on the device. */
  get weightDTypes(): readonly DType[] {
    return [...new Set(Object.values(this.#weights.tensors).map(({ spec }) => spec.dtype))];
  }

  /** Creates a tensor that lives as long as the model. */
  createTensor(spec: TensorSpec): DeviceTensor {
    const tensor = this.device.createTensor(spec);
    this.#tensors.set(spec.name, tensor);
    return tensor;
  }

  /** Creates a tensor that programs share, with every size of the step at its maximum. */
  createState({ name, dtype, shape }: StateTensor): DeviceTensor {
    return this.createTensor({ name, dtype, shape: maximalShape(shape, this.plan.maxSizes), usage: 'state' });
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

  /** Frees everything but the weights. */
  disposeState(): void {
    this.#disposeTensors();
  }

  /** The model on the same weights again, after `disposeState`: cache and row state are empty. */
  renew(): DeviceModel {
    return new DeviceModel(this.device, this.config, this.plan, this.#weights);
  }

  dispose(): void {
    this.#disposeTensors();
    this.#weights.dispose();
  }

  #createCaches(): void {
    const { numLayers, numKvHeads: kvHeads, headDim } = this.config;
    const { kvCache, blockSize, dtypes } = this.plan;
    const { stages } = this.device.info;
    const shape = { numBlocks: kvCache.numBlocks, kvHeads, blockSize, headDim, kvDtype: dtypes.kvCache };
    for (let layer = 0; layer < numLayers; layer++) {
      for (const tensor of Object.values(cacheTensors(layer, shape))) {
        const spec = { ...tensor, usage: 'kvCache' } as const;
        this.createTensor(stages === 1 ? spec : { ...spec, stage: stageOfLayer(layer, this.config, stages) });
      }
    }
  }

  #createRopeTables(): void {
    const { maxModelLen } = this.plan.rowState;
    for (const { name, rope } of ropeTables(this.config)) {
      const table = this.createTensor({ name, dtype: 'f32', shape: [maxModelLen, rope.rotaryDim], usage: 'weight' });
      this.device.write(table, buildRopeTable(rope, maxModelLen));
    }
  }

  #disposeTensors(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose();
    this.#tensors.clear();
  }
}
