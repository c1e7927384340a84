import { type DTypeTable, quantDTypes } from '@quire/core/contract';

const activations = ['f32'] as const;
const weights = ['f32', 'f16', 'bf16'] as const;
const matrices = [...weights, ...quantDTypes] as const;
const kv = ['f32', 'f16', 'i8', 'f8e4m3'] as const;

/** Ops of tensor and pipeline parallelism. */
const collective = {
  unsupported: 'WebGPU devices have no way to one another but through the host',
} as const;

/** What each op is offered with: activations are f32, weights and caches may be packed, matrices in few bits too. */
export const dtypes = {
  applyRowDelta: {},
  prepareInputs: {},
  prepareSamples: {},
  advanceRows: {},
  embed: { activations, weights: matrices },
  vocabParallelEmbed: collective,
  rmsNorm: { activations, weights },
  layerNorm: { activations, weights },
  linear: { activations, weights: matrices },
  gatedLinear: { activations, weights: matrices },
  moeRoute: {},
  groupedLinear: { activations, weights: matrices },
  prepareAdapters: {},
  loraLinear: { activations, weights },
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
  scale: { activations },
  normColumns: { activations, weights },
  pool: { activations },
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
