import type { Bindings, Device, Executable, StepSizes } from '../contract/contract.ts';
import { InvalidRequestError } from '../errors.ts';
import type { ModelConfig } from '../models/config.ts';
import type { AdapterWeights } from '../models/index.ts';
import { noSizes } from '../program/index.ts';
import type { Checkpoint } from '../weights/types.ts';
import { writeAdapter } from './adapter-writer.ts';
import { DeviceModel } from './device-model.ts';
import type { ModelDTypes } from './model-dtypes.ts';
import { ProgramSet } from './program-set.ts';
import { RowWriter } from './row-writer.ts';
import type { RowSampling, SchedulerOutput } from './types.ts';

export interface DebugRunnerOptions {
  readonly device: Device;
  readonly modelConfig: ModelConfig;
  readonly checkpoint: Checkpoint;
  /** Longest sequence that `forwardLogits` takes. */
  readonly maxTokens: number;
  /** Default: weights as they are stored, everything else in f32. */
  readonly dtypes?: ModelDTypes;
  /** Default 16. */
  readonly blockSize?: number;
  /** Tokens of a chunk. Default: maxTokens, so that a sequence is computed in one step. */
  readonly maxNumBatchedTokens?: number;
  /** Computes all sequences, with room for this one and another one. Default: the model alone does. */
  readonly adapter?: { readonly weights: AdapterWeights; readonly maxRank: number };
  /** Keep every temporary of the model's program readable through `executable.tensor`. */
  readonly keepAll?: boolean;
}

/** Not the first, so that whoever takes any slot is seen. */
const ADAPTER_SLOT = 1;

const fullPrecision: ModelDTypes = { weights: 'auto', activations: 'f32', kvCache: 'f32' };

/** Opens a model for teacher-forced forward passes: for golden tests, and to compare devices tensor by tensor. */
export async function openDebugRunner(options: DebugRunnerOptions): Promise<DebugRunner> {
  const { device, modelConfig, checkpoint, maxTokens, blockSize = 16, adapter } = options;
  const maxNumBatchedTokens = options.maxNumBatchedTokens ?? maxTokens;
  const engineConfig = {
    dtype: 'auto',
    seed: 0n,
    maxModelLen: maxTokens,
    blockSize,
    maxNumSeqs: 1,
    maxNumBatchedTokens,
    kvCacheDtype: 'auto',
    kvCacheMemoryBytes: null,
    numGpuBlocksOverride: Math.ceil(maxTokens / blockSize),
    maxLogprobs: 0,
    runAhead: 1,
    numSchedulerSteps: 1,
    maxSamples: maxNumBatchedTokens,
    ...(adapter && { enableLora: true, maxLoras: ADAPTER_SLOT + 1, maxLoraRank: adapter.maxRank }),
  } as const;
  const { dtypes = fullPrecision } = options;
  const model = await DeviceModel.load({ device, modelConfig, engineConfig, weights: { checkpoint }, dtypes });
  const programs = new ProgramSet(model);
  try {
    await programs.compileModel({ keepAll: options.keepAll ?? false });
    if (adapter !== undefined) writeAdapter(model, { slot: ADAPTER_SLOT, weights: adapter.weights });
    return new DebugRunner(model, programs);
  } catch (error) {
    programs.dispose();
    model.dispose();
    throw error;
  }
}

const greedy: RowSampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  seed: 0n,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  minTokens: 0,
  stopTokenIds: [],
  logitBias: [],
  masked: false,
};

/** One sequence at a time through the model's program, without a sampler. */
export class DebugRunner {
  readonly #model: DeviceModel;
  readonly #programs: ProgramSet;
  readonly #writer: RowWriter;

  constructor(model: DeviceModel, programs: ProgramSet) {
    this.#model = model;
    this.#programs = programs;
    const { rowState, blockSize, deltaLimits } = model.plan;
    this.#writer = new RowWriter(rowState, blockSize, deltaLimits, delta => {
      model.device.write(model.tensor('delta'), delta.pack());
      const sizes = { ...noSizes, deltaSegments: delta.segments };
      model.device.submit([{ executable: programs.get('applyRowDelta'), sizes }]);
    });
  }

  /** The model's program; with keepAll its temporaries hold what the last chunk left. */
  get executable(): Executable {
    return this.#programs.get('model');
  }

  /** What the model's program is bound to: to run a variant of the program on the same tensors. */
  get bindings(): Bindings {
    return this.#model.bindings(this.executable.program);
  }

  /** Writes the state of one step over all of `tokenIds` (at most a chunk), computes nothing, and returns the step's sizes. */
  prepareStep(tokenIds: readonly number[]): StepSizes {
    return this.#prepare(Uint32Array.from(tokenIds), 0, tokenIds.length);
  }

  /** Logits f32 [tokenIds.length, vocabSize] of every position: row i predicts the token after tokenIds[i]. */
  async forwardLogits(tokenIds: readonly number[] | Uint32Array): Promise<Float32Array> {
    const ids = Uint32Array.from(tokenIds);
    const { maxModelLen } = this.#model.plan.rowState;
    if (ids.length > maxModelLen) {
      throw new InvalidRequestError(
        `${ids.length} tokens are more than the ${maxModelLen} that this runner was opened for.`,
      );
    }
    const { vocabSize } = this.#model.config;
    const chunk = this.#model.plan.maxSizes.samples;
    const logits = new Float32Array(ids.length * vocabSize);
    for (let start = 0; start < ids.length; start += chunk) {
      const length = Math.min(chunk, ids.length - start);
      this.#submit(ids, start, length);
      const part = logits.subarray(start * vocabSize, (start + length) * vocabSize);
      await this.#model.device.read(this.#model.tensor('logits'), 0, part);
    }
    return logits;
  }

  dispose(): void {
    this.#programs.dispose();
    this.#model.dispose();
  }

  #submit(tokenIds: Uint32Array, start: number, length: number): void {
    const sizes = this.#prepare(tokenIds, start, length);
    this.#model.device.submit([{ executable: this.executable, sizes }]);
  }

  /** Writes the row state and the batch of one step over tokens [start, start + length). */
  #prepare(tokenIds: Uint32Array, start: number, length: number): StepSizes {
    const { blockSize } = this.#model.plan;
    const adapterSlot = this.#model.plan.lora === null ? null : ADAPTER_SLOT;
    this.#writer.write(chunkStep({ tokenIds, start, length, blockSize, adapterSlot }));
    this.#writer.advance(1);
    return {
      tokens: length,
      sequences: 1,
      decodeSequences: 0,
      samples: length,
      blocksPerSequence: Math.ceil(tokenIds.length / blockSize),
      maxQueryTokens: length,
      deltaSegments: 0,
    };
  }
}

interface Chunk {
  readonly tokenIds: Uint32Array;
  readonly start: number;
  readonly length: number;
  readonly blockSize: number;
  readonly adapterSlot: number | null;
}

/** A step of row 0 that computes `length` tokens from `start` on, all of them sampled, on blocks 1, 2, ... */
function chunkStep({ tokenIds, start, length, blockSize, adapterSlot }: Chunk): SchedulerOutput {
  const numBlocks = Math.ceil(tokenIds.length / blockSize);
  const blocks = Array.from({ length: numBlocks }, (_, index) => index + 1);
  const newRow = {
    row: 0,
    tokenIds,
    promptTokens: tokenIds.length,
    numComputed: start,
    // Nothing is sampled into the row, but a row at its limit would not be live.
    tokenLimit: tokenIds.length + 1,
    sampling: greedy,
    logprobs: null,
    adapterSlot,
  };
  return {
    newRows: [newRow],
    edits: [],
    grants: [{ row: 0, start: 0, blocks }],
    numSequences: 1,
    numDecodeSequences: 0,
    rows: Int32Array.of(0),
    queryLens: Int32Array.of(length),
    sampleCounts: Int32Array.of(length),
    promptLogprobs: Int32Array.of(-1),
    times: 1,
    copies: [],
    zeroBlocks: [],
    masks: [],
    hostLogits: [],
  };
}
