import type { HeadNorms, OpCatalogue } from '../../../contract/contract.ts';
import type { KernelTensors, RunOp } from './kernel.ts';
import type { Floats } from './views.ts';

type Geometry = Pick<OpCatalogue['rope'], 'heads' | 'kvHeads' | 'headDim' | 'rotaryDim' | 'interleaved'>;

/**
 * Norms queries and keys of qkv in place where the op has norms (Henry et al. 2020, with RMS norms as in Qwen3), then rotates them
 * (Su et al. 2021): (a, b) -> (a cos - b sin, b cos + a sin).
 */
export function rotateInPlace(
  op: Geometry & HeadNorms,
  { qkv, positions, table, qNorm, kNorm }: KernelTensors<'rope'>,
): RunOp {
  const { width } = qkv;
  const half = op.rotaryDim / 2;
  const [partner, stride] = op.interleaved ? [1, 2] : [half, 1];
  const rotatedHeads = op.heads + op.kvHeads;
  const row = new Float64Array(rotatedHeads * op.headDim);

  function rotateHead(start: number, angles: Float32Array, angleRow: number): void {
    for (let i = 0; i < half; i++) {
      const [cos, sin] = [angles[angleRow + i]!, angles[angleRow + half + i]!];
      const [a, b] = [row[start + i * stride]!, row[start + i * stride + partner]!];
      row[start + i * stride] = a * cos - b * sin;
      row[start + i * stride + partner] = b * cos + a * sin;
    }
  }

  function normHead(start: number, norm: Floats | undefined): void {
    if (norm === undefined) return;
    const weight = norm.values();
    let squares = 0;
    for (let i = 0; i < op.headDim; i++) squares += row[start + i]! ** 2;
    const scale = 1 / Math.sqrt(squares / op.headDim + op.normEps!);
    for (let i = 0; i < op.headDim; i++) row[start + i]! *= scale * weight[i]!;
  }

  return sizes => {
    const tokens = qkv.rows(sizes);
    const [angles, limit] = [table.values(), table.rows(sizes)];
    for (let t = 0; t < tokens; t++) {
      const position = positions.data[t]!;
      if (position >= limit) throw new RangeError(`token ${t} is at position ${position}, the table ends at ${limit}`);
      qkv.load(t * width, row.length, row);
      for (let head = 0; head < rotatedHeads; head++) {
        normHead(head * op.headDim, head < op.heads ? qNorm : kNorm);
        rotateHead(head * op.headDim, angles, position * op.rotaryDim);
      }
      qkv.store(t * width, row.length, row);
    }
  };
}
