import { type DType, type DTypeTable, quantDTypes } from '../../contract/contract.ts';

const floats = ['f32', 'f16', 'bf16'] as const satisfies readonly DType[];
const caches = [...floats, 'i8', 'f8e4m3'] as const;
const matrices = [...floats, ...quantDTypes] as const;

/** What the reference device offers: every op in every floating-point dtype, and matrices and caches in few bits. */
export const dtypes = {
  applyRowDelta: {},
  prepareInputs: {},
  prepareSamples: {},
  advanceRows: {},
  embed: { activations: floats, weights: matrices },
  vocabParallelEmbed: { activations: floats, weights: matrices },
  rmsNorm: { activations: floats, weights: floats },
  layerNorm: { activations: floats, weights: floats },
  linear: { activations: floats, weights: matrices },
  gatedLinear: { activations: floats, weights: matrices },
  moeRoute: {},
  groupedLinear: { activations: floats, weights: matrices },
  prepareAdapters: {},
  loraLinear: { activations: floats, weights: floats },
  rope: { activations: floats, weights: floats },
  kvWrite: { activations: floats, kv: caches },
  ropeKvWrite: { activations: floats, weights: floats, kv: caches },
  pagedAttention: { activations: floats, kv: caches },
  gatedActivation: { activations: floats },
  add: { activations: floats },
  allReduce: { activations: floats },
  allGather: { activations: floats },
  send: { activations: floats },
  recv: { activations: floats },
  broadcast: {},
  scale: { activations: floats },
  normColumns: { activations: floats, weights: floats },
  pool: { activations: floats },
  gatherRows: { activations: floats },
  copyBlocks: { kv: caches },
  zeroBlocks: { kv: caches },
  penalties: {},
  biasLogits: {},
  maskLogits: {},
  filterLogits: {},
  sample: {},
  argmax: {},
  logProbs: {},
} satisfies DTypeTable;
