import type { OpName, Unsupported } from '@quire/core/contract';
import type { dtypes } from '../dtypes.ts';
import type { Kernel } from '../kernel.ts';
import { add } from './add.ts';
import { advanceRows } from './advance-rows.ts';
import { applyRowDelta } from './apply-row-delta.ts';
import { argmax } from './argmax.ts';
import { biasLogits } from './bias-logits.ts';
import { copyBlocks } from './copy-blocks.ts';
import { embed } from './embed.ts';
import { filterLogits } from './filter-logits.ts';
import { gatedActivation } from './gated-activation.ts';
import { gatedLinear } from './gated-linear.ts';
import { gatherRows } from './gather-rows.ts';
import { groupedLinear } from './grouped-linear.ts';
import { kvWrite } from './kv-write.ts';
import { layerNorm } from './layer-norm.ts';
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
import { rmsNorm } from './rms-norm.ts';
import { rope } from './rope.ts';
import { ropeKvWrite } from './rope-kv-write.ts';
import { sample } from './sample.ts';
import { scale } from './scale.ts';
import { zeroBlocks } from './zero-blocks.ts';

type OfferedOp = { [K in OpName]: (typeof dtypes)[K] extends Unsupported ? never : K }[OpName];

/** The kernel of every op that the table of dtypes does not say is unsupported: leaving one out is a compile error. */
export const kernels = {
  applyRowDelta,
  prepareInputs,
  prepareSamples,
  advanceRows,
  embed,
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
} satisfies { readonly [K in OfferedOp]: Kernel<K> };
