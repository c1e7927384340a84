/** Norms that the linear layer behind them computes anew in every group, in steps of few rows: a dispatch less for each. */
import type { Op, Program, TensorName } from '@quire/core/contract';
import { opAccess } from '@quire/core/program';
import type { Lanes, LayerOp, NormFusion, NormOp, Tuning } from './kernel.ts';

export const noFusion: NormFusion = { ofLayer: new Map(), lanesOf: new Map() };

/** Takes in the norms whose rows nobody but the layer right behind reads. */
export function fuseNorms(program: Program, tuning: Tuning): NormFusion {
  if (tuning.fewRows === 0) return noFusion;
  const ofLayer = new Map<LayerOp, NormOp>();
  const lanesOf = new Map<NormOp, Lanes>();
  const readers = countReaders(program);
  program.ops.forEach((norm, index) => {
    const layer = program.ops[index + 1];
    if (norm.op !== 'rmsNorm' || (layer?.op !== 'linear' && layer?.op !== 'gatedLinear')) return;
    if (!takesIn(layer, norm, program) || readers.get(norm.out) !== 1) return;
    const { dtype, shape } = program.tensors[layer.weight]!;
    const [rows, depth] = shape as [number, number];
    const columns = layer.op === 'linear' ? rows : rows / 2;
    ofLayer.set(layer, norm);
    lanesOf.set(norm, tuning.linear({ op: layer.op, dtype, columns, depth }).lanes);
  });
  return { ofLayer, lanesOf };
}

function takesIn(layer: LayerOp, norm: NormOp, { tensors }: Program): boolean {
  const width = tensors[norm.x]!.shape[1] as number;
  const written = layer.op === 'linear' ? [layer.out, layer.residual] : [layer.out];
  return (
    layer.x === norm.out &&
    norm.residual === undefined &&
    tensors[norm.out]!.kind === 'temporary' &&
    width % 4 === 0 &&
    // One dispatch does not bind a buffer twice for writing.
    !written.includes(norm.x)
  );
}

function countReaders(program: Program): Map<TensorName, number> {
  const readers = new Map<TensorName, number>();
  const reads = (op: Op) => new Set(opAccess(op).reads);
  for (const name of program.ops.flatMap(op => [...reads(op)])) readers.set(name, (readers.get(name) ?? 0) + 1);
  return readers;
}
