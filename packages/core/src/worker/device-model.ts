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
  pooledTensor,
  ropeTables,
  type StateTensor,
  shardConfig,
  stageOfLayer,
  stageOfWeight,
  stateTensors,
  type WeightSupply,
} from '../models/index.ts';
import { chooseDTypes, type ModelDTypes } from './model-dtypes.ts';
import {
  adapterTensors,
  blockBytes,
  checkWorkerConfig,
  type DraftNeed,
  estimateWorkingBytes,
  type ModelPlan,
  type PlanInputs,
  planModel,
  planRehearsal,
} from './model-plan.ts';
import { bytesPerSecond, type StageTimer, untimed } from './stage-timer.ts';
import { fillsDevice, type WorkerConfig, wantedModelLen } from './worker-config.ts';

export interface DeviceModelOptions {
  readonly device: Device;
  readonly modelConfig: ModelConfig;
  readonly engineConfig: WorkerConfig;
  readonly weights: WeightSupply;
  /** Default: chosen for the device. */
  readonly dtypes?: ModelDTypes;
  /** Brings everything onto the device that a model needs to run, and frees it after `measure`. Default: the need is estimated. */
  readonly rehearse?: (model: DeviceModel, measure: () => void) => Promise<void>;
  readonly timeStage?: StageTimer;
}

/** A model whose weights are on a device, while the size of its cache is open. */
export class LoadedModel implements DraftNeed {
  readonly #inputs: PlanInputs;
  readonly #weights: LoadedWeights;
  readonly #measured: number | null;
  readonly #timeStage: StageTimer;
  #isPlaced = false;

  /** Frees everything when it fails. */
  static async load(options: DeviceModelOptions): Promise<LoadedModel> {
    const { device, modelConfig, engineConfig, weights: supply, timeStage = untimed, rehearse } = options;
    const dtypes = options.dtypes ?? chooseDTypes(engineConfig, modelConfig, device);
    checkStages(modelConfig, device.info.stages);
    const config = shardConfig(modelConfig, planShards(modelConfig, device.info.ranks));
    checkWorkerConfig(engineConfig, config, device, dtypes);
    const weights = await timeStage(
      'weights',
      () => loadWeights(device, modelConfig, supply, dtypes.weights, dtypes.quantization),
      ({ bytes }, milliseconds) => bytesPerSecond(bytes * device.info.ranks, milliseconds),
    );
    try {
      const inputs = { config: engineConfig, model: config, device, dtypes, weights: weights.layout };
      const measures = rehearse !== undefined && fillsDevice(engineConfig, device);
      const measured = measures ? await timeStage('profile', () => measure(inputs, weights, rehearse)) : null;
      return new LoadedModel(inputs, weights, measured, timeStage);
    } catch (error) {
      weights.dispose();
      throw error;
    }
  }

  private constructor(inputs: PlanInputs, weights: LoadedWeights, measured: number | null, timeStage: StageTimer) {
    this.#inputs = inputs;
    this.#weights = weights;
    this.#measured = measured;
    this.#timeStage = timeStage;
  }

  get blockBytes(): number {
    return blockBytes(this.#inputs);
  }

  get workingBytes(): number {
    return this.#measured ?? estimateWorkingBytes(this.#inputs, this.maxModelLen);
  }

  /** Tokens of the longest request, before the cache is sized. */
  get maxModelLen(): number {
    return wantedModelLen(this.#inputs.config, this.#inputs.model).length;
  }

  /**
   * Sizes the cache from what is left, beside a draft model where there is one. `changes`: of the configuration that it was loaded
   * with. The weights are the placed model's then; they are freed when it fails.
   */
  async place(draft: DraftNeed | null = null, changes: Partial<WorkerConfig> = {}): Promise<DeviceModel> {
    const inputs = { ...this.#inputs, config: { ...this.#inputs.config, ...changes } };
    this.#isPlaced = true;
    try {
      return await this.#timeStage(
        'kv cache',
        async () => new DeviceModel(inputs, planModel(inputs, this.#measured, draft), this.#weights),
        ({ plan }) => `${plan.kvCache.tokens} tokens`,
      );
    } catch (error) {
      this.#weights.dispose();
      throw error;
    }
  }

  /** Frees the weights, unless the model was placed. */
  dispose(): void {
    if (!this.#isPlaced) this.#weights.dispose();
  }
}

/** Bytes that everything beside weights and cache takes: programs, temporaries, row state, libraries, graphs. */
async function measure(
  inputs: PlanInputs,
  weights: LoadedWeights,
  rehearse: NonNullable<DeviceModelOptions['rehearse']>,
): Promise<number> {
  const { device } = inputs;
  const free = () => device.info.memory?.free ?? 0;
  await device.synchronize();
  const before = free();
  let after = before;
  const model = new DeviceModel(inputs, planRehearsal(inputs), weights);
  try {
    await rehearse(model, () => {
      after = free();
    });
  } finally {
    model.disposeState();
    await device.synchronize();
  }
  return Math.max(before - after - model.plan.kvCache.bytes, 0);
}

/** A model on a device: weights, KV cache and row state, and the plan of its program, ready to be compiled. */
export class DeviceModel {
  readonly device: Device;
  /** With the heads and the width that one rank of a group computes. */
  readonly config: ModelConfig;
  readonly plan: ModelPlan;
  readonly #inputs: Pick<PlanInputs, 'device' | 'model'>;
  readonly #weights: LoadedWeights;
  readonly #tensors = new Map<string, DeviceTensor>();

  /** Loads the weights, then sizes the cache from what is left. Frees everything when it fails. */
  static async load(options: DeviceModelOptions): Promise<DeviceModel> {
    return (await LoadedModel.load(options)).place();
  }

  constructor(inputs: Pick<PlanInputs, 'device' | 'model'>, plan: ModelPlan, weights: LoadedWeights) {
    const { device, model: config } = inputs;
    this.#inputs = inputs;
    this.device = device;
    this.config = config;
    this.plan = plan;
    this.#weights = weights;
    try {
      this.#createCaches();
      for (const tensor of Object.values(stateTensors(plan.rowState, config.vocabSize))) this.createState(tensor);
      if (config.pooling !== null) this.createState(pooledTensor(plan.rowState, config));
      this.#createAdapters();
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
    return new DeviceModel(this.#inputs, this.plan, this.#weights);
  }

  dispose(): void {
    this.#disposeTensors();
    this.#weights.dispose();
  }

  #createCaches(): void {
    const { numLayers, numKvHeads: kvHeads, headDim } = this.config;
    const { kvCache, blockSize, dtypes, numHostBlocks } = this.plan;
    // Only caches whose blocks leave the device take part in transfers: a draft model's never do.
    const usage = numHostBlocks > 0 ? 'kvCache' : 'state';
    const { stages } = this.device.info;
    const shape = { numBlocks: kvCache.numBlocks, kvHeads, blockSize, headDim, kvDtype: dtypes.kvCache };
    for (let layer = 0; layer < numLayers; layer++) {
      for (const tensor of Object.values(cacheTensors(layer, shape))) {
        const spec = { ...tensor, usage } as const;
        this.createTensor(stages === 1 ? spec : { ...spec, stage: stageOfLayer(layer, this.config, stages) });
      }
    }
  }

  #createAdapters(): void {
    const { stages } = this.device.info;
    for (const tensor of adapterTensors(this.config, this.plan.lora, this.plan.dtypes)) {
      const spec = { ...tensor, usage: 'state' } as const;
      this.createTensor(stages === 1 ? spec : { ...spec, stage: stageOfWeight(tensor.name, this.config, stages) });
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
