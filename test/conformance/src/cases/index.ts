import type { OpName } from '@quire/core/contract';
import { numberCases } from '../define.ts';
import { advancedCases } from '../sequences/advanced.ts';
import { logitProcessorCases } from '../sequences/logit-processors.ts';
import { normedGatedLinearCases, normedLinearCases } from '../sequences/normed-linear.ts';
import { normedRotationCases } from '../sequences/normed-rotation.ts';
import { preparationCases } from '../sequences/preparation.ts';
import { rotatedLinearCases } from '../sequences/rotated-linear.ts';
import { routedExpertCases } from '../sequences/routed-experts.ts';
import type { CaseGroup, ConformanceCase } from '../types.ts';
import { addCases } from './add.ts';
import { advanceRowsCases } from './advance-rows.ts';
import { allGatherCases } from './all-gather.ts';
import { allReduceCases } from './all-reduce.ts';
import { applyRowDeltaCases } from './apply-row-delta.ts';
import { argmaxCases } from './argmax.ts';
import { biasLogitsCases } from './bias-logits.ts';
import { broadcastCases } from './broadcast.ts';
import { copyBlocksCases } from './copy-blocks.ts';
import { embedCases } from './embed.ts';
import { filterLogitsCases } from './filter-logits.ts';
import { gatedActivationCases } from './gated-activation.ts';
import { gatedLinearCases } from './gated-linear.ts';
import { gatherRowsCases } from './gather-rows.ts';
import { groupedLinearCases } from './grouped-linear.ts';
import { kvWriteCases } from './kv-write.ts';
import { layerNormCases } from './layer-norm.ts';
import { linearCases } from './linear.ts';
import { logProbsCases } from './log-probs.ts';
import { loraLinearCases } from './lora-linear.ts';
import { maskLogitsCases } from './mask-logits.ts';
import { moeRouteCases } from './moe-route.ts';
import { normColumnsCases } from './norm-columns.ts';
import { pagedAttentionCases } from './paged-attention.ts';
import { penaltiesCases } from './penalties.ts';
import { poolCases } from './pool.ts';
import { prepareAdaptersCases } from './prepare-adapters.ts';
import { prepareInputsCases } from './prepare-inputs.ts';
import { prepareSamplesCases } from './prepare-samples.ts';
import { recvCases } from './recv.ts';
import { rmsNormCases } from './rms-norm.ts';
import { ropeCases } from './rope.ts';
import { ropeKvWriteCases } from './rope-kv-write.ts';
import { sampleCases } from './sample.ts';
import { scaleCases } from './scale.ts';
import { sendCases } from './send.ts';
import { vocabParallelEmbedCases } from './vocab-parallel-embed.ts';
import { zeroBlocksCases } from './zero-blocks.ts';

/**
 * The cases of each op; one without a list is a compile error. Behind the op's own lie those of sequences that end with it, which a
 * device may run as one launch.
 */
const lists = {
  applyRowDelta: applyRowDeltaCases,
  prepareInputs: prepareInputsCases,
  prepareSamples: () => [...prepareSamplesCases(), ...preparationCases()],
  advanceRows: () => [...advanceRowsCases(), ...advancedCases()],
  embed: embedCases,
  vocabParallelEmbed: vocabParallelEmbedCases,
  rmsNorm: rmsNormCases,
  layerNorm: layerNormCases,
  linear: () => [...linearCases(), ...normedLinearCases()],
  gatedLinear: () => [...gatedLinearCases(), ...normedGatedLinearCases()],
  moeRoute: moeRouteCases,
  groupedLinear: () => [...groupedLinearCases(), ...routedExpertCases()],
  prepareAdapters: prepareAdaptersCases,
  loraLinear: loraLinearCases,
  rope: ropeCases,
  kvWrite: kvWriteCases,
  ropeKvWrite: () => [...ropeKvWriteCases(), ...normedRotationCases(), ...rotatedLinearCases()],
  pagedAttention: pagedAttentionCases,
  gatedActivation: gatedActivationCases,
  add: addCases,
  allReduce: allReduceCases,
  allGather: allGatherCases,
  send: sendCases,
  recv: recvCases,
  broadcast: broadcastCases,
  scale: scaleCases,
  normColumns: normColumnsCases,
  pool: poolCases,
  gatherRows: gatherRowsCases,
  copyBlocks: copyBlocksCases,
  zeroBlocks: zeroBlocksCases,
  penalties: () => [...penaltiesCases(), ...logitProcessorCases()],
  biasLogits: biasLogitsCases,
  maskLogits: maskLogitsCases,
  filterLogits: filterLogitsCases,
  sample: sampleCases,
  argmax: argmaxCases,
  logProbs: logProbsCases,
} satisfies Record<OpName, () => CaseGroup[]>;

let all: readonly ConformanceCase[] | undefined;

/** Every case of every op, in the order of the catalogue; cases that share a program follow each other. */
export function conformanceCases(): readonly ConformanceCase[] {
  all ??= (Object.entries(lists) as [OpName, () => CaseGroup[]][]).flatMap(([op, list]) => numberCases(op, list()));
  return all;
}
