import { type DType, NONE, type Op } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { runOps, type TestTensor, u32 } from './run-op.ts';

const dtypes = ['f32', 'f16', 'bf16'] as const satisfies DType[];
const noise = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => Math.sin((i + 1) * 12.9898 * seed));
const tensor = (dtype: DType, shape: number[], data: ArrayLike<number>): TestTensor => ({ dtype, shape, data });

describe.each(dtypes)('in %s', dtype => {
  it.each([
    [false, {}],
    [true, {}],
    [false, { qNorm: 'qNorm', kNorm: 'kNorm', normEps: 1e-6 }],
  ])('ropeKvWrite is rope, then kvWrite (interleaved: %s, norms: %o)', async (interleaved, norms) => {
    const geometry = { heads: 3, kvHeads: 2, headDim: 6, ...norms };
    const rotation = { rotaryDim: 4, interleaved, positions: 'positions', table: 'table' };
    const caches = { slotMapping: 'slots', kCache: 'k', vCache: 'v', blockSize: 2 };
    for (const kv of dtypes) {
      const tensors = {
        qkv: tensor(dtype, [4, 42], noise(4 * 42, 3)),
        positions: u32([4], [2, 0, 1, 2]),
        table: tensor('f32', [3, 4], noise(12, 5)),
        slots: u32([4], [3, NONE, 0, 5]),
        k: tensor(kv, [3, 2, 2, 6], noise(72, 7)),
        v: tensor(kv, [3, 2, 2, 6], noise(72, 11)),
        ...('qNorm' in norms && { qNorm: tensor('f32', [6], noise(6, 13)), kNorm: tensor('f32', [6], noise(6, 17)) }),
      };
      const apart: Op[] = [
        { op: 'rope', qkv: 'qkv', ...rotation, ...geometry },
        { op: 'kvWrite', qkv: 'qkv', ...caches, ...geometry },
      ];
      const fused: Op = { op: 'ropeKvWrite', qkv: 'qkv', ...rotation, ...caches, ...geometry };
      const expected = await runOps(apart, tensors, ['qkv', 'k', 'v']);
      const found = await runOps([fused], tensors, ['qkv', 'k', 'v']);
      expect(found).toEqual(expected);
      // Slot 3 is the second of block 1: its first key is the first token's, rotated.
      expect(found.k.slice(30, 36)).toEqual(Array.from(roundedTo(kv, found.qkv.slice(18, 24))));
    }
  });

  it('gatedLinear rounds once, at its end', async () => {
    const [rows, k, n] = [3, 7, 21];
    const tensors = {
      x: tensor(dtype, [rows, k], noise(rows * k, 3)),
      weight: tensor(dtype, [2 * n, k], noise(2 * n * k, 5)),
      bias: tensor(dtype, [2 * n], noise(2 * n, 7)),
      out: tensor(dtype, [rows, n], noise(rows * n, 9)),
    };
    const op: Op = { op: 'gatedLinear', x: 'x', weight: 'weight', bias: 'bias', out: 'out', activation: 'silu' };
    const { out } = await runOps([op], tensors, ['out']);
    const [x, weight, bias] = ['x', 'weight', 'bias'].map(name =>
      roundedTo(dtype, Array.from(tensors[name as 'x' | 'weight' | 'bias'].data!)),
    ) as [Float32Array, Float32Array, Float32Array];
    const expected = Array.from({ length: rows * n }, (_, at) => {
      const [row, column] = [Math.floor(at / n), at % n];
      const product = (line: number) => {
        let sum = bias[line]!;
        for (let i = 0; i < k; i++) sum += x[row * k + i]! * weight[line * k + i]!;
        return sum;
      };
      const gate = product(column);
      return (gate / (1 + Math.exp(-gate))) * product(n + column);
    });
    const half = { f32: 2 ** -24, f16: 2 ** -11, bf16: 2 ** -8 }[dtype];
    out.forEach((value, i) => {
      const tolerance = half * Math.abs(expected[i]!) * 1.001 + 2 ** -25;
      expect(Math.abs(value - expected[i]!), `[${i}]`).toBeLessThanOrEqual(tolerance);
    });
  });
});

function roundedTo(dtype: DType, values: number[]): Float32Array {
  return decodeFloats(dtype, encodeFloats(dtype, Float32Array.from(values)));
}
