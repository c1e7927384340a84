import type { StepSizes } from '../contract/contract.ts';
import { BufferRing } from './buffer-ring.ts';
import { samplingProgram } from './program-set.ts';
import { roundTopN, type SamplingClass } from './sampling-programs.ts';
import type { RowSampling, SchedulerOutput } from './types.ts';

/** What a step needs besides its row deltas. Its arrays are used again when as many steps as may be in flight have been planned. */
export interface StepPlan {
  readonly sampling: SamplingClass;
  /** Name of the program that samples. */
  readonly sampler: string;
  readonly sizes: StepSizes;
  readonly times: number;
  readonly rows: Int32Array;
  /** 1 where the sequence samples a new token, 0 where it only fills the cache or scores its prompt. */
  readonly samplesToken: Int32Array;
  readonly sampleStarts: Int32Array;
  readonly sampleCounts: Int32Array;
}

const RANDOM = 1;
const BIASES = 2;
const PENALTIES = 4;
const MASKED = 8;

/** Keeps what the host must know of each row to choose programs and sizes of a step. Steps are planned in submit order. */
export class StepPlanner {
  readonly #maxLogprobs: number;
  readonly #flags: Uint8Array;
  readonly #logprobs: Int32Array;
  /** Tokens of the row known when it was taken, and tokens computed since, repeats not counted: sampling starts where they meet. */
  readonly #knownTokens: Int32Array;
  readonly #numComputed: Int32Array;
  readonly #grantedBlocks: Int32Array;
  readonly #arrays: BufferRing;
  #last: StepPlan | null = null;

  /** maxSteps: steps that may be in flight. */
  constructor(maxRows: number, maxLogprobs: number, maxSteps: number) {
    this.#arrays = new BufferRing(maxSteps + 1);
    this.#maxLogprobs = maxLogprobs;
    this.#flags = new Uint8Array(maxRows);
    this.#logprobs = new Int32Array(maxRows);
    this.#knownTokens = new Int32Array(maxRows);
    this.#numComputed = new Int32Array(maxRows);
    this.#grantedBlocks = new Int32Array(maxRows);
  }

  plan(step: SchedulerOutput): StepPlan {
    this.#last = step.isRepeat && this.#last !== null ? this.#repeat(this.#last, step) : this.#planAnew(step);
    return this.#last;
  }

  /** Rows that sampled go on to do so: only the blocks may have become more. */
  #repeat(last: StepPlan, step: SchedulerOutput): StepPlan {
    let { blocksPerSequence } = last.sizes;
    for (const { row, start, blocks } of step.grants) {
      this.#grantedBlocks[row] = start + blocks.length;
      blocksPerSequence = Math.max(blocksPerSequence, start + blocks.length);
    }
    const isSame = blocksPerSequence === last.sizes.blocksPerSequence;
    if (isSame && step.times === last.times) return last;
    return { ...last, times: step.times, sizes: isSame ? last.sizes : { ...last.sizes, blocksPerSequence } };
  }

  #planAnew(step: SchedulerOutput): StepPlan {
    const count = step.numSequences;
    const arrays = this.#arrays.i32(4 * count);
    const [rows, sampleCounts] = [arrays.subarray(0, count), arrays.subarray(count, 2 * count)];
    const [samplesToken, sampleStarts] = [arrays.subarray(2 * count, 3 * count), arrays.subarray(3 * count)];
    rows.set(step.rows.subarray(0, count));
    sampleCounts.set(step.sampleCounts.subarray(0, count));
    this.#takeRows(step);
    this.#advance(step, samplesToken);
    const sampling = this.#samplingClass(step);
    const sizes = this.#measure(step, sampleStarts);
    const sampler = samplingProgram(sampling);
    return { sampling, sampler, sizes, times: step.times, rows, samplesToken, sampleStarts, sampleCounts };
  }

  #takeRows({ newRows, edits, grants }: SchedulerOutput): void {
    for (const { row, tokenIds, numComputed, sampling, logprobs } of newRows) {
      this.#flags[row] = samplingFlags(sampling);
      this.#logprobs[row] = logprobs ?? -1;
      this.#knownTokens[row] = tokenIds.length;
      this.#numComputed[row] = numComputed;
      this.#grantedBlocks[row] = 0;
    }
    for (const { row, start, tokenIds, numComputed } of edits) {
      this.#knownTokens[row] = start + tokenIds.length;
      this.#numComputed[row] = numComputed;
    }
    for (const { row, start, blocks } of grants) this.#grantedBlocks[row] = start + blocks.length;
  }

  #advance(step: SchedulerOutput, samplesToken: Int32Array): void {
    for (let i = 0; i < step.numSequences; i++) {
      const row = step.rows[i]!;
      const computed = this.#numComputed[row]! + step.queryLens[i]!;
      samplesToken[i] = step.sampleCounts[i]! > 0 && computed >= this.#knownTokens[row]! ? 1 : 0;
      this.#numComputed[row] = computed;
    }
  }

  #samplingClass(step: SchedulerOutput): SamplingClass {
    let flags = 0;
    let wanted = -1;
    for (let i = 0; i < step.numSequences; i++) {
      if (step.sampleCounts[i] === 0) continue;
      const row = step.rows[i]!;
      flags |= this.#flags[row]!;
      wanted = Math.max(wanted, this.#logprobs[row]!, step.promptLogprobs[i]!);
    }
    return {
      random: (flags & RANDOM) !== 0,
      biases: (flags & BIASES) !== 0,
      masks: (flags & MASKED) !== 0,
      penalties: (flags & PENALTIES) !== 0,
      topN: wanted < 0 ? null : roundTopN(wanted, Math.max(wanted, this.#maxLogprobs)),
    };
  }

  #measure(step: SchedulerOutput, sampleStarts: Int32Array): StepSizes {
    let tokens = 0;
    let samples = 0;
    let maxQueryTokens = 0;
    let blocksPerSequence = 0;
    for (let i = 0; i < step.numSequences; i++) {
      sampleStarts[i] = samples;
      tokens += step.queryLens[i]!;
      samples += step.sampleCounts[i]!;
      maxQueryTokens = Math.max(maxQueryTokens, step.queryLens[i]!);
      blocksPerSequence = Math.max(blocksPerSequence, this.#grantedBlocks[step.rows[i]!]!);
    }
    return {
      tokens,
      sequences: step.numSequences,
      decodeSequences: step.numDecodeSequences,
      samples,
      blocksPerSequence,
      maxQueryTokens,
      deltaSegments: 0,
    };
  }
}

function samplingFlags(s: RowSampling): number {
  const biases = s.logitBias.length > 0 || (s.minTokens > 0 && s.stopTokenIds.length > 0);
  const penalties = s.presencePenalty !== 0 || s.frequencyPenalty !== 0 || s.repetitionPenalty !== 1;
  return (
    (s.temperature > 0 ? RANDOM : 0) | (biases ? BIASES : 0) | (penalties ? PENALTIES : 0) | (s.masked ? MASKED : 0)
  );
}
