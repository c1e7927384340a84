import type { DTypeTable } from '@quire/core/contract';

const activations = ['f32', 'f16', 'bf16'] as const;
const weights = ['f32', 'f16', 'bf16'] as const;
const kv = ['f32', 'f16', 'bf16'] as const;

/** Ops of tensor and pipeline parallelism. */
const collective = {
  unsupported: 'ranks of a group are to meet through NCCL, which is not connected yet',
} as const;

const notBuilt = { unsupported: 'its CUDA kernel is not built yet' } as const;

/** What each op is offered with, in both flavours. */
export const dtypes = {
  applyRowDelta: {},
  prepareInputs: {},
  prepareSamples: {},
  advanceRows: {},
  embed: { activations, weights },
  vocabParallelEmbed: collective,
  rmsNorm: { activations, weights },
  layerNorm: { activations, weights },
  linear: { activations, weights },
  gatedLinear: { activations, weights },
  rope: { activations, weights },
  kvWrite: { activations, kv },
  ropeKvWrite: { activations, weights, kv },
  pagedAttention: { activations, kv },
  gatedActivation: { activations },
  add: { activations },
  allReduce: collective,
  allGather: collective,
  send: collective,
  recv: collective,
  broadcast: collective,
  scale: notBuilt,
  normColumns: notBuilt,
  pool: notBuilt,
  gatherRows: { activations },
  copyBlocks: { kv },
  zeroBlocks: { kv },
  penalties: {},
  biasLogits: {},
  maskLogits: {},
  filterLogits: {},
  sample: {},
  argmax: {},
  logProbs: {},
} satisfies DTypeTable;
