import type { Activation, DType, Op } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { rawData, runOps, type TestTensor, u32 } from './run-op.ts';

const dtypes = ['f32', 'f16', 'bf16'] as const satisfies DType[];
/** Half a unit in the last place, relative, plus what an f64 formula in another order may differ by. */
const unit: Record<string, number> = { f32: 2 ** -24, f16: 2 ** -11, bf16: 2 ** -8 };

/** Numbers in [-1, 1) that a linear congruential generator gives, rounded to the dtype. */
function random(count: number, seed: number, dtype: DType): number[] {
  let state = seed;
  const values = Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return Array.from(decodeFloats(dtype, encodeFloats(dtype, values)));
}

const tensor = (dtype: DType, shape: number[], data?: ArrayLike<number>): TestTensor => ({
  dtype,
  shape,
  ...(data && { data }),
});

function expectClose(found: number[], expected: number[], dtype: DType): void {
  expect(found).toHaveLength(expected.length);
  found.forEach((value, i) => {
    const tolerance = unit[dtype]! * Math.abs(expected[i]!) * 1.001 + 2 ** -25 * 1.001;
    if (!(Math.abs(value - expected[i]!) <= tolerance))
      throw new Error(`[${i}] found ${value}, expected ${expected[i]}`);
  });
}

/** [rows][width] from a flat list. */
const matrix = (values: number[], width: number) =>
  Array.from({ length: values.length / width }, (_, row) => values.slice(row * width, (row + 1) * width));
const rounded = (values: number[], dtype: DType) => Array.from(decodeFloats(dtype, rawData({ dtype, data: values })));

describe.each(dtypes)('in %s', dtype => {
  it('embed looks up the rows that its part of the table has', async () => {
    const table = random(12, 1, dtype);
    const tensors = {
      ids: u32([4], [0, 3, 5, 2]),
      table: tensor(dtype, [4, 3], table),
      out: tensor(dtype, [4, 3], new Array(12).fill(7)),
    };
    const op: Op = { op: 'embed', ids: 'ids', table: 'table', out: 'out', offset: 1, firstRow: 2 };
    const { out } = await runOps([op], tensors, ['out']);
    const rows = matrix(table, 3);
    expect(out).toEqual([7, 7, 7, ...rows[2]!, 7, 7, 7, ...rows[1]!]);
  });

  it('rmsNorm norms x, or the stored sum with the residual in place', async () => {
    const [x, residual, weight] = [random(10, 2, dtype), random(10, 3, dtype), random(5, 4, dtype)];
    const tensors = {
      x: tensor(dtype, [2, 5], x),
      residual: tensor(dtype, [2, 5], residual),
      weight: tensor(dtype, [5], weight),
      plain: tensor(dtype, [2, 5]),
      fused: tensor(dtype, [2, 5]),
    };
    const ops: Op[] = [
      { op: 'rmsNorm', x: 'x', weight: 'weight', out: 'plain', eps: 1e-5 },
      { op: 'rmsNorm', x: 'x', weight: 'weight', residual: 'residual', sum: 'residual', out: 'fused', eps: 0.1 },
    ];
    const out = await runOps(ops, tensors, ['plain', 'fused', 'residual']);
    const norm = (values: number[], eps: number) =>
      matrix(values, 5).flatMap(row => {
        const mean = row.map(value => value ** 2).reduce((a, b) => a + b) / 5;
        return row.map((value, i) => (value / Math.sqrt(mean + eps)) * weight[i]!);
      });
    const sum = rounded(
      x.map((value, i) => value + residual[i]!),
      dtype,
    );
    expectClose(out.plain, norm(x, 1e-5), dtype);
    expect(out.residual).toEqual(sum);
    expectClose(out.fused, norm(sum, 0.1), dtype);
  });

  it('layerNorm with and without bias', async () => {
    const [x, weight, bias] = [random(10, 5, dtype), random(5, 6, dtype), random(5, 7, dtype)];
    const tensors = {
      x: tensor(dtype, [2, 5], x),
      weight: tensor(dtype, [5], weight),
      bias: tensor(dtype, [5], bias),
      plain: tensor(dtype, [2, 5]),
      shifted: tensor(dtype, [2, 5]),
    };
    const ops: Op[] = [
      { op: 'layerNorm', x: 'x', weight: 'weight', out: 'plain', eps: 1e-5 },
      { op: 'layerNorm', x: 'x', weight: 'weight', bias: 'bias', out: 'shifted', eps: 1e-5 },
    ];
    const out = await runOps(ops, tensors, ['plain', 'shifted']);
    const expected = matrix(x, 5).flatMap(row => {
      const mean = row.reduce((a, b) => a + b) / 5;
      const variance = row.reduce((sum, value) => sum + value * value, 0) / 5 - mean * mean;
      return row.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * weight[i]!);
    });
    expectClose(out.plain, expected, dtype);
    expectClose(
      out.shifted,
      expected.map((value, i) => value + bias[i % 5]!),
      dtype,
    );
  });

  it.each(['none', 'relu', 'silu', 'gelu', 'geluTanh'] satisfies Activation[])(
    'linear with bias, %s, residual in place and a column offset',
    async activation => {
      const [rows, k, n, width] = [3, 7, 21, 25];
      const [x, weight] = [random(rows * k, 8, dtype), random(n * k, 9, dtype)];
      const [bias, residual] = [random(n, 10, dtype), random(rows * width, 11, dtype)];
      const tensors = {
        x: tensor(dtype, [rows, k], x),
        weight: tensor(dtype, [n, k], weight),
        bias: tensor(dtype, [n], bias),
        out: tensor(dtype, [rows, width], residual),
      };
      const op: Op = {
        op: 'linear',
        x: 'x',
        weight: 'weight',
        bias: 'bias',
        residual: 'out',
        out: 'out',
        activation,
        outColumn: 3,
      };
      const { out } = await runOps([op], tensors, ['out']);
      const expected = [...residual];
      for (let r = 0; r < rows; r++) {
        for (let column = 0; column < n; column++) {
          let sum = bias[column]!;
          for (let i = k - 1; i >= 0; i--) sum += x[r * k + i]! * weight[column * k + i]!;
          expected[r * width + 3 + column]! += activations[activation](sum);
        }
      }
      expectClose(out, expected, dtype);
    },
  );

  it.each([false, true])('rope rotates queries and keys and leaves values (interleaved: %s)', async interleaved => {
    const [heads, kvHeads, headDim, rotaryDim] = [3, 1, 6, 4];
    const width = (heads + 2 * kvHeads) * headDim;
    const qkv = random(2 * width, 12, dtype);
    const angles = [0, 0.3, 1.7].flatMap(base => [base, base / 2]);
    const table = matrix(angles, 2).flatMap(pair => [...pair.map(Math.cos), ...pair.map(Math.sin)]);
    const tensors = {
      qkv: tensor(dtype, [2, width], qkv),
      positions: u32([2], [2, 1]),
      table: tensor('f32', [3, rotaryDim], table),
    };
    const op: Op = {
      op: 'rope',
      qkv: 'qkv',
      positions: 'positions',
      table: 'table',
      heads,
      kvHeads,
      headDim,
      rotaryDim,
      interleaved,
    };
    const out = await runOps([op], tensors, ['qkv']);
    const expected = [...qkv];
    for (const [token, base] of [1.7, 0.3].entries()) {
      for (let head = 0; head < heads + kvHeads; head++) {
        const pairs = interleaved ? [[0, 1], [2, 3]] : [[0, 2], [1, 3]]; // biome-ignore format: pairs
        for (const [i, [first, second]] of pairs.entries()) {
          const at = token * width + head * headDim;
          const angle = base / 2 ** i;
          const [a, b] = [qkv[at + first!]!, qkv[at + second!]!];
          expected[at + first!] = a * Math.fround(Math.cos(angle)) - b * Math.fround(Math.sin(angle));
          expected[at + second!] = a * Math.fround(Math.sin(angle)) + b * Math.fround(Math.cos(angle));
        }
      }
    }
    expectClose(out.qkv, expected, dtype);
  });

  it('gatedActivation, add and gatherRows', async () => {
    const x = random(16, 13, dtype);
    const tensors = {
      x: tensor(dtype, [2, 8], x),
      gated: tensor(dtype, [2, 4]),
      a: tensor(dtype, [2, 8], random(16, 14, dtype)),
      samples: u32([3, 4], [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
      gathered: tensor(dtype, [3, 8]),
    };
    const ops: Op[] = [
      { op: 'gatedActivation', x: 'x', out: 'gated', activation: 'silu' },
      { op: 'add', a: 'a', b: 'x', out: 'a' },
      { op: 'gatherRows', x: 'x', samples: 'samples', out: 'gathered' },
    ];
    const out = await runOps(ops, tensors, ['gated', 'a', 'gathered']);
    const rows = matrix(x, 8);
    const gated = rows.flatMap(row => row.slice(0, 4).map((gate, i) => activations.silu(gate) * row[4 + i]!));
    expectClose(out.gated, gated, dtype);
    const sum = random(16, 14, dtype).map((value, i) => value + x[i]!);
    expect(out.a).toEqual(rounded(sum, dtype));
    expect(out.gathered).toEqual([...rows[1]!, ...rows[0]!, ...rows[1]!]);
  });
});

const activations: Record<Activation, (x: number) => number> = {
  none: x => x,
  relu: x => (Math.abs(x) + x) / 2,
  silu: x => x * (0.5 + 0.5 * Math.tanh(x / 2)),
  gelu: x => x * normalCdf(x),
  geluTanh: x => x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
};

/** The standard normal distribution function by Simpson's rule. */
function normalCdf(x: number): number {
  const steps = 2000;
  let sum = 0;
  for (let i = 0; i <= steps; i++) {
    const weight = i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2;
    sum += weight * Math.exp(-(((x * i) / steps) ** 2 / 2));
  }
  return 0.5 + (sum * x) / (3 * steps) / Math.sqrt(2 * Math.PI);
}
