import type { Device, DType, Executable, SubmitStep } from '../contract/contract.ts';
import { pooledWidth } from '../models/index.ts';
import type { RowDelta } from '../program/index.ts';
import { noSizes } from '../program/index.ts';
import { writeAdapter } from './adapter-writer.ts';
import type { DeviceModel } from './device-model.ts';
import { processLogits, readLogits, type SampleLogits } from './host-logits.ts';
import type { KvCacheSize } from './kv-cache-size.ts';
import { type BlockProgram, ProgramSet } from './program-set.ts';
import { type LogprobOutputs, ResultReader } from './result-reader.ts';
import { RowWriter } from './row-writer.ts';
import { logprobTensors } from './sampling-programs.ts';
import { type StageTimer, untimed } from './stage-timer.ts';
import { BLOCK_BATCH, paddedBatches } from './state-programs.ts';
import { type StepPlan, StepPlanner } from './step-plan.ts';
import type { ExecutorLimits, ModelExecutor, SchedulerOutput, SleepingExecutor, StepResult } from './types.ts';
import { MAX_BIAS_WORDS } from './worker-config.ts';

/** Compiles the programs of a model, which is disposed when that fails. `timeStage`: of what is prepared, null for nothing. */
export async function openRunner(
  model: DeviceModel,
  timeStage: StageTimer | null,
  draft: ModelExecutor | null = null,
): Promise<ModelRunner> {
  const programs = new ProgramSet(model);
  try {
    await programs.compileCommon();
    if (timeStage !== null) await programs.prepare(timeStage);
    return new ModelRunner(model, programs, { isPrepared: timeStage !== null, draft });
  } catch (error) {
    programs.dispose();
    model.dispose();
    throw error;
  }
}

/** Runs scheduler outputs on a device: writes what changed, submits model and sampler, reads what was sampled. */
export class ModelRunner implements ModelExecutor {
  readonly limits: ExecutorLimits;
  readonly draft: ModelExecutor | null;
  readonly #model: DeviceModel;
  readonly #device: Device;
  readonly #programs: ProgramSet;
  readonly #planner: StepPlanner;
  readonly #writer: RowWriter;
  readonly #reader: ResultReader;
  readonly #isPrepared: boolean;
  /** Steps of the next submit that come before the model. */
  readonly #before: SubmitStep[] = [];
  /** Settles when every step that had to wait, for a compilation or for the host, is submitted; null when none waits. */
  #waiting: Promise<void> | null = null;

  constructor(
    model: DeviceModel,
    programs: ProgramSet,
    { isPrepared, draft }: { isPrepared: boolean; draft: ModelExecutor | null },
  ) {
    this.#isPrepared = isPrepared;
    this.draft = draft;
    this.#model = model;
    this.#device = model.device;
    this.#programs = programs;
    this.limits = executorLimits(model);
    const { rowState, blockSize, deltaLimits, maxLogprobs } = model.plan;
    this.#planner = new StepPlanner(rowState.maxRows, maxLogprobs, rowState.ringSlots);
    this.#writer = new RowWriter(rowState, blockSize, deltaLimits, delta => this.#applyDelta(delta));
    this.#reader = new ResultReader(this.#device, model.tensor('ring'), rowState);
  }

  /** Tokens and full-length requests that the KV cache holds: for the start-up message. */
  get kvCache(): KvCacheSize {
    return this.#model.plan.kvCache;
  }

  /** How the model is stored and computed: for the start-up message. */
  get dtypes(): { weights: readonly DType[]; activations: DType; kvCache: DType } {
    const { activations, kvCache } = this.#model.plan.dtypes;
    return { weights: this.#model.weightDTypes, activations, kvCache };
  }

  /** Programs compiled so far, by name: `model`, `applyRowDelta`, `sampling.greedy` ... For op counts and profiles. */
  get executables(): ReadonlyMap<string, Executable> {
    return this.#programs.all;
  }

  submit(step: SchedulerOutput): Promise<StepResult> {
    const plan = this.#planner.plan(step);
    const isReady = this.#waiting === null && !processesLogits(step) && this.#isCompiled(step, plan);
    if (isReady) return this.#submitNow(step, plan);
    // The caller may reuse the arrays of the step when this returns.
    return this.#submitLater(copyStep(step), plan);
  }

  async transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    // Steps that wait for a compilation come first.
    if (this.#waiting !== null) await this.#waiting;
    await this.#device.transfer(blocks, hostSlots, direction);
  }

  reset(): void {
    this.#before.length = 0;
    this.#writer.reset();
    this.draft?.reset();
  }

  async sleep(): Promise<SleepingExecutor> {
    await this.synchronize();
    const model = this.#model;
    const draft = await this.draft?.sleep();
    this.#programs.dispose();
    model.disposeState();
    return {
      wake: async () => openRunner(model.renew(), this.#isPrepared ? untimed : null, (await draft?.wake()) ?? null),
      dispose: async () => {
        await draft?.dispose();
        model.dispose();
      },
    };
  }

  async synchronize(): Promise<void> {
    await this.#waiting;
    await this.draft?.synchronize();
    await this.#device.synchronize();
  }

  async dispose(): Promise<void> {
    await this.#waiting;
    await this.draft?.dispose();
    this.#programs.dispose();
    this.#model.dispose();
  }

  #submitLater(step: SchedulerOutput, plan: StepPlan): Promise<StepResult> {
    const compiled = (this.#waiting ?? Promise.resolve()).then(() => this.#compileFor(step, plan));
    // Wrapped, so that the next step waits for this one to be submitted and not for its result.
    const submitted = compiled.then(() => this.#submitInTurn(step, plan));
    const settled = () => {
      if (this.#waiting === waiting) this.#waiting = null;
    };
    const waiting: Promise<void> = submitted.then(settled, settled);
    this.#waiting = waiting;
    return submitted.then(({ result }) => result);
  }

  #submitNow(step: SchedulerOutput, plan: StepPlan): Promise<StepResult> {
    this.#prepare(step);
    const steps = [...this.#before.splice(0), this.#step('model', plan), this.#step(this.#follower(plan), plan)];
    this.#device.submit(steps, plan.times);
    const pooled = this.#readPooled(step.pooledRows ?? []);
    const result = this.#read(plan, readLogits(this.#device, this.#model.tensor('logits'), step.hostLogits, plan));
    return pooled === null ? result : withPooled(result, pooled);
  }

  /** Model and sampler in two submits where the host changes logits in between; nothing else may be submitted until both are. */
  async #submitInTurn(step: SchedulerOutput, plan: StepPlan): Promise<{ result: Promise<StepResult> }> {
    if (!processesLogits(step)) return { result: this.#submitNow(step, plan) };
    const logits = this.#model.tensor('logits');
    this.#prepare(step);
    this.#device.submit([...this.#before.splice(0), this.#step('model', plan)]);
    const samples = await readLogits(this.#device, logits, step.hostLogits, plan);
    processLogits(this.#device, logits, samples);
    this.#device.submit([this.#step(plan.sampler, plan)]);
    return { result: this.#read(plan, Promise.resolve(samples)) };
  }

  /** Writes what changed; what must run for that lies in `#before`. */
  #prepare(step: SchedulerOutput): void {
    // Steps submitted before have what was there before.
    for (const load of step.adapterLoads ?? []) writeAdapter(this.#model, load);
    this.#writer.write(step);
    // Cleared first: a block that is copied into is new, one that is copied from is not.
    this.#changeBlocks('zeroBlocks', 'blockList', step.zeroBlocks, BLOCK_BATCH);
    this.#changeBlocks('copyBlocks', 'blockPairs', step.copies.flat(), 2 * BLOCK_BATCH);
    for (const { row, words } of step.masks) this.#device.write(this.#model.tensor('masks'), words, row * words.length);
    if (step.times > 1) this.#submitBefore();
  }

  get #pools(): boolean {
    return this.#model.config.pooling !== null;
  }

  /** The program behind the model's. */
  #follower({ sampler }: StepPlan): string {
    return this.#pools ? 'advance' : sampler;
  }

  /** Queues the reads at once: the rows may have other owners with the next step. */
  #readPooled(rows: readonly number[]): Promise<ReadonlyMap<number, Float32Array>> | null {
    if (rows.length === 0) return null;
    const tensor = this.#model.tensor('pooled');
    const width = tensor.spec.shape[1]!;
    const reads = rows.map(async row => {
      const values = new Float32Array(width);
      await this.#device.read(tensor, row * width, values);
      return [row, values] as const;
    });
    return Promise.all(reads).then(entries => new Map(entries));
  }

  #step(program: string, plan: StepPlan): SubmitStep {
    return { executable: this.#programs.get(program), sizes: plan.sizes };
  }

  #read(plan: StepPlan, logits: Promise<readonly SampleLogits[]>): Promise<StepResult> {
    const { stepCounter } = this.#writer;
    this.#writer.advance(plan.times);
    return this.#reader.read(plan, stepCounter, this.#logprobOutputs(plan.sampling.topN), logits);
  }

  /** Called by the writer. A further delta of one step first submits the one before, which lies in the same tensor. */
  #applyDelta(delta: RowDelta): void {
    this.#submitBefore();
    this.#device.write(this.#model.tensor('delta'), delta.pack());
    const sizes = { ...noSizes, deltaSegments: delta.segments };
    this.#before.push({ executable: this.#programs.get('applyRowDelta'), sizes });
  }

  #changeBlocks(program: BlockProgram, list: string, numbers: readonly number[], batchWords: number): void {
    let batches = 0;
    for (const batch of paddedBatches(numbers, batchWords)) {
      if (batches++ > 0) this.#submitBefore();
      this.#device.write(this.#model.tensor(list), batch);
      this.#before.push({ executable: this.#programs.get(program), sizes: noSizes });
    }
  }

  #submitBefore(): void {
    if (this.#before.length > 0) this.#device.submit(this.#before.splice(0));
  }

  #logprobOutputs(topN: number | null): LogprobOutputs | null {
    if (topN === null) return null;
    const { logprobs, ids } = logprobTensors(topN);
    return { topN, logprobs: this.#model.tensor(logprobs.name), ids: this.#model.tensor(ids.name) };
  }

  #isCompiled(step: SchedulerOutput, plan: StepPlan): boolean {
    return (
      this.#programs.has(this.#follower(plan)) &&
      (step.copies.length === 0 || this.#programs.has('copyBlocks')) &&
      (step.zeroBlocks.length === 0 || this.#programs.has('zeroBlocks'))
    );
  }

  async #compileFor(step: SchedulerOutput, plan: StepPlan): Promise<void> {
    if (!this.#pools) await this.#programs.compileSampling(plan.sampling);
    if (step.copies.length > 0) await this.#programs.compileBlocks('copyBlocks');
    if (step.zeroBlocks.length > 0) await this.#programs.compileBlocks('zeroBlocks');
  }
}

function processesLogits({ hostLogits }: SchedulerOutput): boolean {
  return hostLogits.some(({ process }) => process !== null);
}

async function withPooled(
  result: Promise<StepResult>,
  pooled: Promise<ReadonlyMap<number, Float32Array>>,
): Promise<StepResult> {
  const [step, rows] = await Promise.all([result, pooled]);
  return { ...step, pooled: rows };
}

function copyStep(step: SchedulerOutput): SchedulerOutput {
  const count = step.numSequences;
  return {
    newRows: step.newRows.map(row => ({ ...row, tokenIds: row.tokenIds.slice() })),
    edits: step.edits.map(edit => ({ ...edit, tokenIds: edit.tokenIds.slice() })),
    grants: step.grants.map(grant => ({ ...grant, blocks: [...grant.blocks] })),
    numSequences: count,
    numDecodeSequences: step.numDecodeSequences,
    rows: step.rows.slice(0, count),
    queryLens: step.queryLens.slice(0, count),
    sampleCounts: step.sampleCounts.slice(0, count),
    promptLogprobs: step.promptLogprobs.slice(0, count),
    times: step.times,
    copies: [...step.copies],
    zeroBlocks: [...step.zeroBlocks],
    masks: [...step.masks],
    hostLogits: [...step.hostLogits],
    pooledRows: [...(step.pooledRows ?? [])],
    adapterLoads: [...(step.adapterLoads ?? [])],
    isRepeat: step.isRepeat ?? false,
  };
}

function executorLimits({ config, plan }: DeviceModel): ExecutorLimits {
  const { rowState, maxSizes, kvCache, blockSize, maxLogprobs } = plan;
  return {
    maxNumSeqs: rowState.maxRows,
    maxModelLen: rowState.maxModelLen,
    maxNumBatchedTokens: maxSizes.tokens,
    maxSamples: maxSizes.samples,
    blockSize,
    numBlocks: kvCache.numBlocks,
    numHostBlocks: plan.numHostBlocks,
    blockBytes: kvCache.bytes / kvCache.numBlocks,
    vocabSize: config.vocabSize,
    maxLogprobs,
    maxBiasWords: MAX_BIAS_WORDS,
    pooling: config.pooling && { ...config.pooling, width: pooledWidth(config) },
    ...(plan.lora && { numAdapterSlots: plan.lora.slots }),
    ringSlots: rowState.ringSlots,
  };
}
