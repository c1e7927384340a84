import type { Program, StepSizes } from '../contract/contract.ts';
import { declareState, type RowStateShape, stateTensors } from '../models/index.ts';
import { ProgramBuilder } from '../program/index.ts';

/** What the rows of a batch ask of the sampler. One program exists per class; a row that asks for less is unaffected. */
export interface SamplingClass {
  /** Some row has a temperature above 0. */
  random: boolean;
  /** Some row has logit biases, or stop ids that are masked for a while. */
  biases: boolean;
  /** Some row may only sample ids of its mask. */
  masks: boolean;
  penalties: boolean;
  /** Top log-probabilities per sample, or null for none at all. */
  topN: number | null;
}

export interface SamplingProgramOptions {
  readonly maxSizes: StepSizes;
  readonly rowState: RowStateShape;
  readonly vocabSize: number;
  /** Of the pipeline; the last one has the logits. Default 1. */
  readonly stages?: number;
}

/** Names of the log-probability outputs of a class: f32 [samples, 1 + topN] and u32 [samples, 2 + topN]. */
export function logprobTensors(topN: number) {
  return {
    logprobs: { name: `logprobs.${topN}`, dtype: 'f32', shape: ['samples', 1 + topN] },
    ids: { name: `logprobIds.${topN}`, dtype: 'u32', shape: ['samples', 2 + topN] },
  } as const;
}

/** The tensor of the rows' masks, which exists once a row needs one: u32 [maxRows, ceil(vocabSize / 32)]. */
export function maskTensor({ maxRows }: RowStateShape, vocabSize: number) {
  return { name: 'masks', dtype: 'u32', shape: [maxRows, Math.ceil(vocabSize / 32)] } as const;
}

/** `greedy`, `random+penalties+logprobs5`: one name per class. */
export function samplingClassName(c: SamplingClass): string {
  const parts = [c.random ? 'random' : 'greedy', c.masks && 'masks', c.biases && 'biases', c.penalties && 'penalties'];
  if (c.topN !== null) parts.push(`logprobs${c.topN}`);
  return parts.filter(Boolean).join('+');
}

/** The smallest supported topN that holds `wanted`: 0, 5, 20, 80 .. up to `max`, so that few programs serve all requests. */
export function roundTopN(wanted: number, max: number): number {
  if (wanted === 0) return 0;
  let topN = 5;
  while (topN < wanted) topN *= 4;
  return Math.min(topN, max);
}

/**
 * From `logits` and `samples` to the advanced rows, in vLLM's order: masks, biases, penalties, filters, sampling; then the
 * log-probabilities of the model's own logits, and advanceRows. In a pipeline the last stage samples, and all advance their rows.
 */
export function buildSamplingProgram(sampling: SamplingClass, options: SamplingProgramOptions): Program {
  const builder = new ProgramBuilder(`sampling.${samplingClassName(sampling)}`, options.maxSizes);
  const state = stateTensors(options.rowState, options.vocabSize);
  const { batch, sequences, samples, logits, rows, tokenIds, ring } = declareState(builder, state, [
    'batch',
    'sequences',
    'samples',
    'logits',
    'rows',
    'tokenIds',
    'ring',
  ]);
  const last = (options.stages ?? 1) - 1;
  if (last > 0) builder.onStage(last);
  const processed = addLogitProcessors(builder, sampling, options);
  const sampled = builder.temporary('sampled', 'u32', ['samples', 2]);
  if (sampling.random) {
    const thresholds = builder.temporary('thresholds', 'f32', ['samples']);
    builder.add({ op: 'filterLogits', logits: processed, samples, rows, thresholds });
    builder.add({ op: 'sample', logits: processed, thresholds, samples, rows, sampled });
  } else {
    builder.add({ op: 'argmax', logits: processed, samples, sampled });
  }
  if (sampling.topN !== null) {
    const outputs = logprobTensors(sampling.topN);
    const logprobs = builder.external(outputs.logprobs.name, outputs.logprobs.dtype, outputs.logprobs.shape);
    const logprobIds = builder.external(outputs.ids.name, outputs.ids.dtype, outputs.ids.shape);
    builder.add({ op: 'logProbs', logits, samples, sampled, logprobs, logprobIds, topN: sampling.topN });
  }
  builder.onStage(undefined);
  if (last > 0) builder.add({ op: 'broadcast', x: sampled, fromStage: last });
  builder.add({ op: 'advanceRows', batch, sequences, samples, sampled, rows, tokenIds, ring });
  return builder.build();
}

/** Adds the ops that change logits, and returns the tensor to sample from. */
function addLogitProcessors(builder: ProgramBuilder, sampling: SamplingClass, options: SamplingProgramOptions): string {
  if (!sampling.masks && !sampling.biases && !sampling.penalties) return 'logits';
  const state = stateTensors(options.rowState, options.vocabSize);
  const shared = { samples: 'samples', rows: 'rows' };
  // Log-probabilities are those of the model, so its logits are kept where they are asked for.
  const out =
    sampling.topN === null ? 'logits' : builder.temporary('processedLogits', 'f32', ['samples', options.vocabSize]);
  let logits = 'logits';
  if (sampling.masks) {
    const { name, dtype, shape } = maskTensor(options.rowState, options.vocabSize);
    builder.add({ op: 'maskLogits', logits, ...shared, masks: builder.external(name, dtype, shape), out });
    logits = out;
  }
  if (sampling.biases) {
    const { biases } = declareState(builder, state, ['biases']);
    builder.add({ op: 'biasLogits', logits, ...shared, biases, out });
    logits = out;
  }
  if (sampling.penalties) builder.add({ op: 'penalties', logits, ...shared, tokenIds: 'tokenIds', out });
  return out;
}
