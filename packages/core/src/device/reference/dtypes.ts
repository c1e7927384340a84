import type { DType, DTypeTable } from '../../contract/contract.ts';

const floats = ['f32', 'f16', 'bf16'] as const satisfies readonly DType[];

/** What the reference device offers: every op in every floating-point dtype. */
export const dtypes = {
  applyRowDelta: {},
  prepareInputs: {},
  prepareSamples: {},
  advanceRows: {},
  embed: { activations: floats, weights: floats },
  vocabParallelEmbed: { activations: floats, weights: floats },
  rmsNorm: { activations: floats, weights: floats },
  layerNorm: { activations: floats, weights: floats },
  linear: { activations: floats, weights: floats },
  gatedLinear: { activations: floats, weights: floats },
  rope: { activations: floats, weights: floats },
  kvWrite: { activations: floats, kv: floats },
  ropeKvWrite: { activations: floats, weights: floats, kv: floats },
  pagedAttention: { activations: floats, kv: floats },
  gatedActivation: { activations: floats },
  add: { activations: floats },
  allReduce: { activations: floats },
  allGather: { activations: floats },
  send: { activations: floats },
  recv: { activations: floats },
  broadcast: {},
  gatherRows: { activations: floats },
  copyBlocks: { kv: floats },
  zeroBlocks: { kv: floats },
  penalties: {},
  biasLogits: {},
  maskLogits: {},
  filterLogits: {},
  sample: {},
  argmax: {},
  logProbs: {},
} satisfies DTypeTable;
