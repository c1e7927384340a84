/** What each op means, written for reading: in f64, element by element, with nothing of the reference device's kernels. */

import type { ConformanceCase } from '@quire/conformance';
import type { Op, OpName, OpOf } from '@quire/core/contract';
import { opAccess } from '@quire/core/program';
import { gumbel } from '../src/noise.ts';
import { pagedAttention } from './paged-attention.ts';
import * as rowState from './row-state.ts';
import { argmax, biasLogits, filterLogits, logProbs, maskLogits, penalties, sampleFormula } from './sampler.ts';
import * as tensorOps from './tensor-ops.ts';
import { Tensors } from './tensors.ts';

type Formulas = { readonly [K in OpName]: (op: OpOf<K>, tensors: Tensors) => void };

const formulas: Formulas = {
  applyRowDelta: rowState.applyRowDelta,
  prepareInputs: rowState.prepareInputs,
  prepareSamples: rowState.prepareSamples,
  advanceRows: rowState.advanceRows,
  embed: tensorOps.embed,
  vocabParallelEmbed: tensorOps.vocabParallelEmbed,
  rmsNorm: tensorOps.rmsNorm,
  layerNorm: tensorOps.layerNorm,
  linear: tensorOps.linear,
  gatedLinear: tensorOps.gatedLinear,
  moeRoute: tensorOps.moeRoute,
  groupedLinear: tensorOps.groupedLinear,
  prepareAdapters: rowState.prepareAdapters,
  loraLinear: tensorOps.loraLinear,
  rope: tensorOps.rope,
  kvWrite: tensorOps.kvWrite,
  ropeKvWrite: tensorOps.ropeKvWrite,
  pagedAttention,
  gatedActivation: tensorOps.gatedActivation,
  add: tensorOps.add,
  allReduce: tensorOps.allReduce,
  allGather: tensorOps.allGather,
  send: tensorOps.send,
  recv: tensorOps.recv,
  broadcast: () => {},
  scale: tensorOps.scale,
  normColumns: tensorOps.normColumns,
  pool: tensorOps.pool,
  gatherRows: tensorOps.gatherRows,
  copyBlocks: tensorOps.copyBlocks,
  zeroBlocks: tensorOps.zeroBlocks,
  penalties,
  biasLogits,
  maskLogits,
  filterLogits,
  sample: sampleFormula((seed, position, id) => gumbel(seed, position, id).value),
  argmax,
  logProbs,
};

/** Runs a case by the formulas. What one op hands to another has been in memory. */
export function evaluate(testCase: ConformanceCase): Tensors {
  const tensors = new Tensors(testCase);
  const { ops } = testCase.program;
  ops.forEach((op, i) => {
    (formulas[op.op] as (op: Op, tensors: Tensors) => void)(op, tensors);
    if (i < ops.length - 1) for (const name of opAccess(op).writes) tensors.round(name);
  });
  return tensors;
}
