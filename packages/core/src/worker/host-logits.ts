import { type Device, type DeviceTensor, MASKED_LOGIT } from '../contract/contract.ts';
import type { StepPlan } from './step-plan.ts';
import type { HostLogits, PositionLogprobs } from './types.ts';

/** The logits of one sample on the host. */
export interface SampleLogits {
  readonly entry: HostLogits;
  /** Index of the sample in the step. */
  readonly sample: number;
  /** f32 [vocabSize], as the model gave them. */
  readonly values: Float32Array;
}

/** Reads the logits of the samples that the host wants to see; queued at once, behind what was submitted. */
export async function readLogits(
  device: Device,
  logits: DeviceTensor,
  entries: readonly HostLogits[],
  plan: StepPlan,
): Promise<SampleLogits[]> {
  if (entries.length === 0) return [];
  const vocabSize = logits.spec.shape[1]!;
  const samples = entries.map(entry => ({
    entry,
    sample: lastSample(plan, entry.row),
    values: new Float32Array(vocabSize),
  }));
  await Promise.all(samples.map(({ sample, values }) => device.read(logits, sample * vocabSize, values)));
  return samples;
}

/** Lets the host change logits, and writes back what it changed. The values that are kept are those of the model. */
export function processLogits(device: Device, logits: DeviceTensor, samples: readonly SampleLogits[]): void {
  for (const { entry, sample, values } of samples) {
    if (entry.process === null) continue;
    const changed = values.slice();
    entry.process(changed);
    for (let id = 0; id < changed.length; id++) if (changed[id]! < MASKED_LOGIT) changed[id] = MASKED_LOGIT;
    device.write(logits, changed, sample * changed.length);
  }
}

/** Log-probabilities of the model at a sample: of the chosen token, and of the listed ids or else of the `topN` likeliest. */
export function describeLogits(
  logits: Float32Array,
  chosen: number,
  listed: readonly number[] | null,
  topN: number,
): PositionLogprobs {
  const normaliser = logSumExp(logits);
  const ids = listed ?? likeliest(logits, topN);
  const entry = (tokenId: number) => ({
    tokenId,
    logprob: Math.fround(logits[tokenId]! - normaliser),
    rank: rankOf(logits, logits[tokenId]!),
  });
  return { ...entry(chosen), top: ids.map(entry) };
}

function lastSample({ rows, sampleStarts, sampleCounts }: StepPlan, row: number): number {
  const i = rows.indexOf(row);
  return sampleStarts[i]! + sampleCounts[i]! - 1;
}

function rankOf(logits: Float32Array, logit: number): number {
  let rank = 1;
  for (const other of logits) if (other > logit) rank++;
  return rank;
}

function logSumExp(logits: Float32Array): number {
  let max = -Infinity;
  for (const logit of logits) max = Math.max(max, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  return max + Math.log(sum);
}

/** Ids of the largest logits in falling order, the lowest first among equals. */
function likeliest(logits: Float32Array, count: number): number[] {
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (ids.length === count && !(logits[id]! > logits[ids.at(-1)!]!)) continue;
    let at = ids.length;
    while (at > 0 && logits[id]! > logits[ids[at - 1]!]!) at--;
    ids.splice(at, 0, id);
    if (ids.length > count) ids.pop();
  }
  return ids;
}
