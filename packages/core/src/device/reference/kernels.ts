import type { OpName } from '../../contract/contract.ts';
import { add } from './add.ts';
import { advanceRows } from './advance-rows.ts';
import { allGather } from './all-gather.ts';
import { allReduce } from './all-reduce.ts';
import { applyRowDelta } from './apply-row-delta.ts';
import { argmax } from './argmax.ts';
import { biasLogits } from './bias-logits.ts';
import { broadcast } from './broadcast.ts';
import { copyBlocks } from './copy-blocks.ts';
import { embed } from './embed.ts';
import { filterLogits } from './filter-logits.ts';
import { gatedActivation } from './gated-activation.ts';
import { gatedLinear } from './gated-linear.ts';
import { gatherRows } from './gather-rows.ts';
import { groupedLinear } from './grouped-linear.ts';
import { kvWrite } from './kv-write.ts';
import { layerNorm } from './layer-norm.ts';
import type { Kernel } from './lib/kernel.ts';
import { linear } from './linear.ts';
import { logProbs } from './log-probs.ts';
import { loraLinear } from './lora-linear.ts';
import { maskLogits } from './mask-logits.ts';
import { moeRoute } from './moe-route.ts';
import { normColumns } from './norm-columns.ts';
import { pagedAttention } from './paged-attention.ts';
import { penalties } from './penalties.ts';
import { pool } from './pool.ts';
import { prepareAdapters } from './prepare-adapters.ts';
import { prepareInputs } from './prepare-inputs.ts';
import { prepareSamples } from './prepare-samples.ts';
import { recv } from './recv.ts';
import { rmsNorm } from './rms-norm.ts';
import { rope } from './rope.ts';
import { ropeKvWrite } from './rope-kv-write.ts';
import { sample } from './sample.ts';
import { scale } from './scale.ts';
import { send } from './send.ts';
import { vocabParallelEmbed } from './vocab-parallel-embed.ts';
import { zeroBlocks } from './zero-blocks.ts';

/** The kernel of every op: one that is missing is a compile error that names it. */
export const kernels = {
  applyRowDelta,
  prepareInputs,
  prepareSamples,
  advanceRows,
  embed,
  vocabParallelEmbed,
  rmsNorm,
  layerNorm,
  linear,
  gatedLinear,
  moeRoute,
  groupedLinear,
  prepareAdapters,
  loraLinear,
  rope,
  kvWrite,
  ropeKvWrite,
  pagedAttention,
  gatedActivation,
  add,
  allReduce,
  allGather,
  send,
  recv,
  broadcast,
  scale,
  normColumns,
  pool,
  gatherRows,
  copyBlocks,
  zeroBlocks,
  penalties,
  biasLogits,
  maskLogits,
  filterLogits,
  sample,
  argmax,
  logProbs,
} satisfies { readonly [K in OpName]: Kernel<K> };
