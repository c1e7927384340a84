import type { CompileOptions, Executable, Program } from '../contract/contract.ts';
import type { StateTensor } from '../models/index.ts';
import type { DeviceModel } from './device-model.ts';
import {
  buildSamplingProgram,
  logprobTensors,
  maskTensor,
  type SamplingClass,
  samplingClassName,
} from './sampling-programs.ts';
import type { StageTimer } from './stage-timer.ts';
import {
  BLOCK_BATCH,
  buildAdvanceProgram,
  buildCopyProgram,
  buildDeltaProgram,
  buildZeroProgram,
  sampledTensor,
} from './state-programs.ts';

export type BlockProgram = 'copyBlocks' | 'zeroBlocks';

/** Name of the executable of a sampling class. */
export function samplingProgram(sampling: SamplingClass): string {
  return `sampling.${samplingClassName(sampling)}`;
}

/** Compiled at start; the other classes when a request first needs them. */
const commonClasses: readonly SamplingClass[] = [
  { random: false, biases: false, masks: false, penalties: false, topN: null },
  { random: true, biases: false, masks: false, penalties: false, topN: null },
];

/** The programs of a runner, compiled once each, with the tensors that only they use. */
export class ProgramSet {
  readonly #model: DeviceModel;
  readonly #executables = new Map<string, Executable>();

  constructor(model: DeviceModel) {
    this.#model = model;
  }

  get all(): ReadonlyMap<string, Executable> {
    return this.#executables;
  }

  has(name: string): boolean {
    return this.#executables.has(name);
  }

  get(name: string): Executable {
    const executable = this.#executables.get(name);
    if (executable === undefined) throw new Error(`Program ${name} is not compiled.`);
    return executable;
  }

  /** Everything that most requests need. */
  async compileCommon(): Promise<void> {
    const model = this.compileModel();
    const behind =
      this.#model.config.pooling === null
        ? commonClasses.map(sampling => this.compileSampling(sampling))
        : [this.#compileAdvance()];
    await together([model, ...behind]);
  }

  /**
   * Does what the first steps of each size would do otherwise: choices by speed, graphs of decode. No row may be live; the step
   * counter is as new afterwards.
   */
  async prepare(timeStage: StageTimer): Promise<void> {
    const { device, config } = this.#model;
    if (config.pooling !== null) {
      // There is no decode, which is all that is captured.
      if (device.tune !== undefined) await timeStage('tuning', async () => device.tune!([this.get('model')]));
      return;
    }
    const lists = commonClasses.map(sampling => [this.get('model'), this.get(samplingProgram(sampling))]);
    if (device.tune !== undefined) await timeStage('tuning', async () => device.tune!([...new Set(lists.flat())]));
    if (device.capture === undefined) return;
    await timeStage('graphs', async () => {
      for (const list of lists) await device.capture!(list);
    });
    const batch = this.#model.tensor('batch');
    device.write(batch, new Uint32Array(batch.bytes / Uint32Array.BYTES_PER_ELEMENT));
  }

  /** The model and row deltas, without a sampler. */
  async compileModel(options?: CompileOptions): Promise<void> {
    const { program, rowState, deltaLimits } = this.#model.plan;
    const model = this.#compile('model', () => program, options);
    const delta = this.#compile('applyRowDelta', () => {
      this.#tensor('delta', [deltaLimits.words]);
      return buildDeltaProgram(deltaLimits, rowState, this.#model.config.vocabSize);
    });
    await together([model, delta]);
  }

  async compileSampling(sampling: SamplingClass): Promise<void> {
    const { maxSizes, rowState } = this.#model.plan;
    const { vocabSize } = this.#model.config;
    const { stages } = this.#model.device.info;
    await this.#compile(samplingProgram(sampling), () => {
      if (sampling.topN !== null) this.#createLogprobTensors(sampling.topN);
      if (sampling.masks) this.#createOnce(maskTensor(rowState, vocabSize));
      return buildSamplingProgram(sampling, { maxSizes, rowState, vocabSize, stages });
    });
  }

  async #compileAdvance(): Promise<void> {
    const { maxSizes, rowState } = this.#model.plan;
    await this.#compile('advance', () => {
      this.#createOnce(sampledTensor);
      return buildAdvanceProgram(maxSizes, rowState, this.#model.config.vocabSize);
    });
  }

  async compileBlocks(name: BlockProgram): Promise<void> {
    const { kvCache, dtypes, blockSize } = this.#model.plan;
    const { config, device } = this.#model;
    const { numBlocks } = kvCache;
    const geometry = { config, stages: device.info.stages, kvDtype: dtypes.kvCache, numBlocks, blockSize };
    await this.#compile(name, () => {
      if (name === 'copyBlocks') {
        this.#tensor('blockPairs', [BLOCK_BATCH, 2]);
        return buildCopyProgram(geometry);
      }
      this.#tensor('blockList', [BLOCK_BATCH]);
      return buildZeroProgram(geometry);
    });
  }

  dispose(): void {
    for (const executable of this.#executables.values()) executable.dispose();
    this.#executables.clear();
  }

  #createLogprobTensors(topN: number): void {
    for (const tensor of Object.values(logprobTensors(topN))) this.#createOnce(tensor);
  }

  #createOnce(tensor: StateTensor): void {
    if (!this.#model.has(tensor.name)) this.#model.createState(tensor);
  }

  #tensor(name: string, shape: number[]): void {
    this.#model.createTensor({ name, dtype: 'u32', shape, usage: 'state' });
  }

  async #compile(name: string, build: () => Program, options?: CompileOptions): Promise<void> {
    if (this.has(name)) return;
    const program = build();
    this.#executables.set(name, await this.#model.device.compile(program, this.#model.bindings(program), options));
  }
}

/** Waits for all, also when one fails: what the others made must be known before anything is disposed. */
async function together(compilations: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(compilations);
  await Promise.all(compilations);
}
