import { type DTypeTable, quantDTypes } from '@quire/core/contract';

const activations = ['f32', 'f16', 'bf16'] as const;
const weights = ['f32', 'f16', 'bf16'] as const;
const matrices = [...weights, ...quantDTypes] as const;
const kv = ['f32', 'f16', 'bf16', 'i8', 'f8e4m3'] as const;

/** What each op is offered with, in both flavours, on a device in a group. */
export const groupDTypes = {
  applyRowDelta: {},
  prepareInputs: {},
  prepareSamples: {},
  advanceRows: {},
  embed: { activations, weights: matrices },
  vocabParallelEmbed: { activations, weights: matrices },
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
  allReduce: { activations },
  allGather: { activations },
  send: { activations },
  recv: { activations },
  broadcast: {},
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

const withoutStages = { unsupported: 'a GPU that is alone has no other stage to reach' } as const;

/** The same on a device that is alone. */
export const dtypes = { ...groupDTypes, send: withoutStages, recv: withoutStages } satisfies DTypeTable;
