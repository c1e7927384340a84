import { type Device, type DeviceTensor, NONE } from '../contract/contract.ts';
import type { RowStateShape } from '../models/index.ts';
import type { StepPlan } from './step-plan.ts';
import type { StepLogprobs, StepResult } from './types.ts';

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

  constructor(device: Device, ring: DeviceTensor, shape: RowStateShape) {
    this.#device = device;
    this.#ring = ring;
    this.#shape = shape;
  }

  /** Queues the reads at once, behind the submit whose first repeat had this step counter. */
  read(plan: StepPlan, stepCounter: number, outputs: LogprobOutputs | null): Promise<StepResult> {
    const ring = this.#readRing(stepCounter, plan.times);
    const logprobs = outputs === null ? Promise.resolve(null) : this.#readLogprobs(outputs, plan.sizes.samples);
    return Promise.all([ring, logprobs]).then(([pairs, read]) => ({
      ...this.#pick(pairs, plan),
      logprobs: read,
      sampleStarts: plan.sampleStarts,
    }));
  }

  /** Pairs of every row, u32 [times, maxRows, 2]; the slots may wrap around the end of the ring. */
  async #readRing(stepCounter: number, times: number): Promise<Uint32Array> {
    const slotWords = this.#shape.maxRows * 2;
    const pairs = new Uint32Array(times * slotWords);
    const first = stepCounter % this.#shape.ringSlots;
    const before = Math.min(times, this.#shape.ringSlots - first);
    const reads = [this.#device.read(this.#ring, first * slotWords, pairs.subarray(0, before * slotWords))];
    if (before < times) reads.push(this.#device.read(this.#ring, 0, pairs.subarray(before * slotWords)));
    await Promise.all(reads);
    return pairs;
  }

  async #readLogprobs({ topN, logprobs, ids }: LogprobOutputs, samples: number): Promise<StepLogprobs> {
    const values = new Float32Array(samples * (1 + topN));
    const chosen = new Uint32Array(samples * (2 + topN));
    await Promise.all([this.#device.read(logprobs, 0, values), this.#device.read(ids, 0, chosen)]);
    return { topN, logprobs: values, ids: chosen };
  }

  #pick(pairs: Uint32Array, { rows, times, samplesToken }: StepPlan): { tokenIds: Uint32Array; flags: Uint32Array } {
    const tokenIds = new Uint32Array(times * rows.length).fill(NONE);
    const flags = new Uint32Array(times * rows.length);
    for (let repeat = 0; repeat < times; repeat++) {
      for (let i = 0; i < rows.length; i++) {
        if (samplesToken[i] === 0) continue;
        const pair = 2 * (repeat * this.#shape.maxRows + rows[i]!);
        tokenIds[repeat * rows.length + i] = pairs[pair]!;
        flags[repeat * rows.length + i] = pairs[pair + 1]!;
      }
    }
    return { tokenIds, flags };
  }
}
