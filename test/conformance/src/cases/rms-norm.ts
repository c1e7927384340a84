import type { DType } from '@quire/core/contract';
import { encodeFloats } from '@quire/core/program';
import { roundingBound, u, withinRounded } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats, halfPatterns, type Pattern, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, FloatType } from '../types.ts';

type Residual = 'no residual' | 'residual' | 'residual in place';
interface Shape {
  width: number;
  weights: DType;
  residual: Residual;
  tokens: number;
  counts: readonly number[];
  kinds: readonly Pattern[];
  eps: number;
  quick: boolean;
  /** Default f32. */
  activations?: FloatType;
}

const small = { tokens: 9, counts: [9, 1, 4, 7, 2, 8], kinds: patterns, eps: 1e-5 };

const half = { ...small, kinds: halfPatterns };

export function rmsNormCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { ...small, width: 64, weights: 'f32', residual: 'no residual', quick: true },
    { ...small, width: 1, weights: 'f32', residual: 'no residual', quick: false },
    { ...small, width: 5, weights: 'f16', residual: 'residual', quick: true },
    { ...small, width: 80, weights: 'bf16', residual: 'residual in place', quick: true },
    { ...small, width: 97, weights: 'f16', residual: 'no residual', quick: false },
    { ...small, width: 256, weights: 'f32', residual: 'residual in place', quick: true },
    { ...small, width: 288, weights: 'f32', residual: 'residual', quick: false },
    { ...small, width: 576, weights: 'bf16', residual: 'no residual', quick: false, eps: 1e-6 },
    { ...small, width: 1023, weights: 'bf16', residual: 'residual', quick: false },
    { ...small, width: 2048, weights: 'f16', residual: 'residual in place', quick: false, eps: 1e-6 },
    { ...small, width: 4096, weights: 'f32', residual: 'no residual', quick: false, tokens: 4, counts: [4, 1, 2] },
    // A workgroup per row, or four rows to one: more than 65,535 of them.
    {
      ...small,
      width: 4,
      weights: 'f32',
      residual: 'no residual',
      quick: false,
      tokens: 270_000,
      counts: [270_000],
      kinds: ['normal'],
    },
    { ...small, width: 48, weights: 'f32', residual: 'no residual', quick: false, counts: [3], kinds: ['zeros'] },
    { ...small, width: 96, weights: 'bf16', activations: 'bf16', residual: 'no residual', quick: true },
    { ...half, width: 80, weights: 'f16', activations: 'f16', residual: 'no residual', quick: true },
    { ...small, width: 256, weights: 'bf16', activations: 'bf16', residual: 'residual in place', quick: true },
    { ...half, width: 97, weights: 'f32', activations: 'f16', residual: 'residual', quick: true },
    { ...small, width: 4096, weights: 'bf16', activations: 'bf16', residual: 'residual', quick: false },
  ];
  return shapes.flatMap(norms);
}

function norms(shape: Shape): CaseGroup[] {
  const { width, weights, residual, tokens, counts, kinds, eps, quick, activations = 'f32' } = shape;
  const sum = residual === 'residual in place' ? 'residual' : 'sum';
  const withResidual = residual !== 'no residual';
  return group({
    name: `width=${width} ${weights} ${residual}${dtypeName(activations)}`,
    quick,
    maxSizes: { tokens },
    ...(width === 1 && { trivial: 'one column' }),
    build(builder) {
      builder.external('x', activations, ['tokens', width]);
      builder.external('weight', weights, [width]);
      builder.external('out', activations, ['tokens', width]);
      for (const name of new Set(withResidual ? ['residual', sum] : []))
        builder.external(name, activations, ['tokens', width]);
      builder.add({
        op: 'rmsNorm',
        x: 'x',
        weight: 'weight',
        out: 'out',
        eps,
        ...(withResidual && { residual: 'residual', sum }),
      });
    },
    checks: { out: normCheck(shape), ...(withResidual && { [sum]: sumCheck(activations) }) },
    variants: rowVariants(counts, kinds, (random, rows, pattern) => ({
      x: encodeFloats(activations, floats(random, rows * width, pattern)),
      weight: encodeFloats(weights, floats(random, width, 'normal')),
      ...(withResidual && { residual: encodeFloats(activations, floats(random, rows * width, 'normal')) }),
    })),
    guarded: residual !== 'residual in place' && tokens < 1000 && activations === 'f32',
  });
}

const sumCheck = (activations: FloatType) =>
  withinRounded('one addition: 2u (|x| + |residual|)', activations, ['x', 'residual'], ({ inputs }) => {
    const [x, residual] = [inputs.x!, inputs.residual!];
    return i => 2 * u * (Math.abs(x[i]!) + Math.abs(residual[i]!));
  });

const reason =
  'the mean of squares is an f32 sum, perhaps of one lane in order, in which terms far below the sum are lost: u width / 16 of ' +
  'the largest value in the row, beside 2e-6; a rounding of the sum may have gone either way';

function normCheck({ width, residual, activations = 'f32' }: Shape) {
  return withinRounded(reason, activations, [], ({ expected }) => {
    const bound = rmsNormBound(expected as Float32Array, width);
    const summed = residual === 'no residual' ? 0 : 1;
    return i => bound(i) + summed * roundingBound(activations, expected[i]!);
  });
}

/** How far elements of normed rows may be off before they are rounded. */
export function rmsNormBound(expected: Float32Array, width: number): (i: number) => number {
  const largest = rowMaxima(expected, width);
  return i => (2e-6 + (u * width) / 16) * largest[Math.floor(i / width)]!;
}

/** The largest magnitude of each row. */
export function rowMaxima(values: Float32Array, width: number): Float64Array {
  const maxima = new Float64Array(Math.ceil(values.length / width));
  values.forEach((value, i) => {
    const row = Math.floor(i / width);
    maxima[row] = Math.max(maxima[row]!, Math.abs(value));
  });
  return maxima;
}
