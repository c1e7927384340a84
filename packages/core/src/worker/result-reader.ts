import { type Device, type DeviceTensor, NONE } from '../contract/contract.ts';
import type { RowStateShape } from '../models/index.ts';
import { BufferRing } from './buffer-ring.ts';
import { describeLogits, type SampleLogits } from './host-logits.ts';
import type { StepPlan } from './step-plan.ts';
import type { PositionLogprobs, StepLogprobs, StepResult } from './types.ts';

export interface LogprobOutputs {
  readonly topN: number;
  readonly logprobs: DeviceTensor;
  readonly ids: DeviceTensor;
}

/** Reads what a submit left in the ring and in the log-probability tensors. */
export class ResultReader {
  readonly #device: Device;
  readonly #ring: DeviceTensor;
  readonly #shape: RowStateShape;
  readonly #pairs: BufferRing;
  readonly #sampled: BufferRing;

  constructor(device: Device, ring: DeviceTensor, shape: RowStateShape) {
    this.#device = device;
    this.#ring = ring;
    this.#shape = shape;
    // Each step in flight, and the one whose result is being looked at, has its own.
    this.#pairs = new BufferRing(shape.ringSlots + 1);
    this.#sampled = new BufferRing(shape.ringSlots + 1);
  }

  /** Queues the reads at once, behind the submit whose first repeat had this step counter. */
  async read(
    plan: StepPlan,
    stepCounter: number,
    outputs: LogprobOutputs | null,
    logits: Promise<readonly SampleLogits[]>,
  ): Promise<StepResult> {
    const ring = this.#readRing(stepCounter, plan.times);
    const logprobs = outputs === null ? null : this.#readLogprobs(outputs, plan.sizes.samples);
    const [pairs, read, samples] = await Promise.all([ring, logprobs, logits]);
    const sampled = this.#pick(pairs, plan);
    const chosen = (row: number) => sampled.tokenIds[plan.rows.indexOf(row)]!;
    return {
      ...sampled,
      logprobs: read,
      sampleStarts: plan.sampleStarts,
      hostLogprobs: samples.length === 0 ? null : describeAll(samples, chosen),
    };
  }

  /** Pairs of every row, u32 [times, maxRows, 2]; the slots may wrap around the end of the ring. */
  async #readRing(stepCounter: number, times: number): Promise<Uint32Array> {
    const slotWords = this.#shape.maxRows * 2;
    const pairs = this.#pairs.u32(times * slotWords);
    const first = stepCounter % this.#shape.ringSlots;
    const before = Math.min(times, this.#shape.ringSlots - first);
    const read = this.#device.read(this.#ring, first * slotWords, pairs.subarray(0, before * slotWords));
    if (before === times) await read;
    else await Promise.all([read, this.#device.read(this.#ring, 0, pairs.subarray(before * slotWords))]);
    return pairs;
  }

  async #readLogprobs({ topN, logprobs, ids }: LogprobOutputs, samples: number): Promise<StepLogprobs> {
    const values = new Float32Array(samples * (1 + topN));
    const chosen = new Uint32Array(samples * (2 + topN));
    await Promise.all([this.#device.read(logprobs, 0, values), this.#device.read(ids, 0, chosen)]);
    return { topN, logprobs: values, ids: chosen };
  }

  #pick(pairs: Uint32Array, { rows, times, samplesToken }: StepPlan): { tokenIds: Uint32Array; flags: Uint32Array } {
    const count = rows.length;
    const both = this.#sampled.u32(2 * times * count);
    const [tokenIds, flags] = [both.subarray(0, times * count), both.subarray(times * count)];
    for (let repeat = 0; repeat < times; repeat++) {
      for (let i = 0; i < count; i++) {
        const pair = 2 * (repeat * this.#shape.maxRows + rows[i]!);
        const samples = samplesToken[i] === 1;
        tokenIds[repeat * count + i] = samples ? pairs[pair]! : NONE;
        flags[repeat * count + i] = samples ? pairs[pair + 1]! : 0;
      }
    }
    return { tokenIds, flags };
  }
}

/** By row; one that sampled nothing, or wants no log-probabilities, has none. */
function describeAll(
  samples: readonly SampleLogits[],
  chosen: (row: number) => number,
): ReadonlyMap<number, PositionLogprobs> {
  const described = new Map<number, PositionLogprobs>();
  for (const { entry, values } of samples) {
    const token = chosen(entry.row);
    if (entry.topN === null || token >= values.length) continue;
    described.set(entry.row, describeLogits(values, token, entry.tokenIds, entry.topN));
  }
  return described;
}
