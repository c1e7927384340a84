import type { OpName } from '../contract/contract.ts';

/** Every op once; a missing or unknown one is a compile error. */
const catalogue = {
  applyRowDelta: true,
  prepareInputs: true,
  prepareSamples: true,
  advanceRows: true,
  embed: true,
  vocabParallelEmbed: true,
  rmsNorm: true,
  layerNorm: true,
  linear: true,
  gatedLinear: true,
  moeRoute: true,
  groupedLinear: true,
  prepareAdapters: true,
  loraLinear: true,
  rope: true,
  kvWrite: true,
  ropeKvWrite: true,
  pagedAttention: true,
  gatedActivation: true,
  add: true,
  allReduce: true,
  allGather: true,
  send: true,
  recv: true,
  broadcast: true,
  scale: true,
  normColumns: true,
  pool: true,
  gatherRows: true,
  copyBlocks: true,
  zeroBlocks: true,
  penalties: true,
  biasLogits: true,
  maskLogits: true,
  filterLogits: true,
  sample: true,
  argmax: true,
  logProbs: true,
} satisfies Record<OpName, true>;

/** All ops, in the order of the catalogue. */
export const opNames: readonly OpName[] = Object.keys(catalogue) as OpName[];

/** The stem of an op's files: `rmsNorm` is `rms_norm`. */
export function opStem(op: OpName): string {
  return op.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`);
}
