import { NONE } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { u, within, withinRounded } from '../checks.ts';
import { group } from '../define.ts';
import { dotBound } from '../dot-bound.ts';
import { floats, type Pattern, type Random } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, CheckArguments, FloatType } from '../types.ts';

interface Shape {
  /** Width of x. */
  k: number;
  rank: number;
  /** Columns of out, by slice. */
  columns: readonly number[];
  slots: number;
  weights: FloatType;
  /** Default f32. */
  activations?: FloatType;
  /** Which tokens have an adapter. Default: two thirds, any of them. */
  tokens?: 'some' | 'all' | 'one' | 'blocks' | 'none';
  counts?: readonly number[];
  kinds?: readonly Pattern[];
  quick?: boolean;
}

const small = ['normal', 'ties', 'sparse'] as const;

const shapes: readonly Shape[] = [
  { k: 64, rank: 8, columns: [48], slots: 3, weights: 'f32', quick: true },
  { k: 64, rank: 8, columns: [48], slots: 3, weights: 'f16', tokens: 'all', quick: true },
  { k: 64, rank: 16, columns: [40, 24], slots: 4, weights: 'bf16', tokens: 'blocks', quick: true },
  // Queries, keys and values of a group.
  { k: 96, rank: 8, columns: [96, 32, 32], slots: 2, weights: 'f32', quick: true },
  { k: 36, rank: 4, columns: [7, 1, 5, 3], slots: 5, weights: 'f16', quick: true },
  // The least of everything, and widths that nothing divides.
  {
    k: 4,
    rank: 1,
    columns: [1],
    slots: 1,
    weights: 'f32',
    tokens: 'all',
    kinds: ['normal', 'outliers', 'offset'],
    quick: true,
  },
  { k: 12, rank: 1, columns: [5, 3], slots: 2, weights: 'bf16', quick: true },
  { k: 20, rank: 3, columns: [33], slots: 3, weights: 'f16', quick: true },
  { k: 52, rank: 7, columns: [13, 20], slots: 9, weights: 'f32', counts: [9, 1, 30], quick: true },
  { k: 132, rank: 11, columns: [65], slots: 3, weights: 'bf16', tokens: 'one', quick: true },
  { k: 32, rank: 32, columns: [64], slots: 2, weights: 'f32', quick: true },
  { k: 128, rank: 64, columns: [40, 20, 20], slots: 3, weights: 'f16', counts: [3, 6], quick: true },
  { k: 512, rank: 16, columns: [130], slots: 2, weights: 'bf16', counts: [2, 5], quick: true },
  { k: 1028, rank: 5, columns: [24], slots: 8, weights: 'f32', counts: [8, 1] },
  { k: 64, rank: 128, columns: [36], slots: 2, weights: 'f32', counts: [4] },
  { k: 32, rank: 6, columns: [20, 12], slots: 4, weights: 'f32', counts: [65, 130], kinds: ['normal', 'outliers'] },
  {
    k: 32,
    rank: 8,
    columns: [24],
    slots: 3,
    weights: 'f32',
    tokens: 'none',
    counts: [5, 1],
    kinds: ['normal'],
    quick: true,
  },
  { k: 64, rank: 8, columns: [24, 8], slots: 3, weights: 'bf16', activations: 'bf16', quick: true },
  { k: 64, rank: 8, columns: [24, 8], slots: 3, weights: 'f16', activations: 'f16', kinds: small, quick: true },
  { k: 44, rank: 10, columns: [21], slots: 2, weights: 'f32', activations: 'f16', kinds: small, quick: true },
  {
    k: 256,
    rank: 16,
    columns: [64, 32, 32],
    slots: 2,
    weights: 'bf16',
    activations: 'bf16',
    tokens: 'all',
    counts: [1, 9],
  },
];

export function loraLinearCases(): CaseGroup[] {
  return shapes.flatMap(lora);
}

function lora(shape: Shape): CaseGroup[] {
  const { k, rank, columns, slots, weights, activations = 'f32', tokens: share = 'some' } = shape;
  const { counts = [5, 1, 9, 2], kinds = ['normal', 'outliers', 'ties', 'offset'] } = shape;
  const slices = columns.length;
  const n = columns.reduce((sum, part) => sum + part, 0);
  const dtype = activations === 'f32' ? weights : `${weights} activations=${activations}`;
  const variants = rowVariants(counts, kinds, (random, tokens, pattern) => ({
    x: encodeFloats(activations, floats(random, tokens * k, pattern)),
    adapters: choices(random, tokens, slots, share),
    a: encodeFloats(weights, floats(random, slots * slices * rank * k, 'normal', k ** -0.5)),
    b: encodeFloats(weights, floats(random, slots * n * rank)),
    scales: Float32Array.from({ length: slots * slices }, () => 0.25 + 2 * random.uniform()),
    hidden: floats(random, tokens * slices * rank),
    out: encodeFloats(activations, floats(random, tokens * n)),
  }));
  return group({
    name: `K=${k} rank=${rank} N=${columns.join('+')} ${dtype} ${share} of ${slots}`,
    quick: shape.quick ?? false,
    maxSizes: { tokens: Math.max(...counts) },
    build(builder) {
      builder.external('x', activations, ['tokens', k]);
      builder.external('adapters', 'u32', ['tokens']);
      builder.external('a', weights, [slots, slices * rank, k]);
      builder.external('b', weights, [slots, n, rank]);
      builder.external('scales', 'f32', [slots, slices]);
      builder.external('hidden', 'f32', ['tokens', slices * rank]);
      builder.external('out', activations, ['tokens', n]);
      builder.add({
        op: 'loraLinear',
        x: 'x',
        adapters: 'adapters',
        a: 'a',
        b: 'b',
        scales: 'scales',
        hidden: 'hidden',
        out: 'out',
        sliceColumns: columns,
      });
    },
    checks: { hidden: checkHidden(shape), out: checkOut(shape) },
    variants,
    ...(share === 'none' && { trivial: 'no token has an adapter' }),
  });
}

/** The first token has one unless none has. */
function choices(random: Random, tokens: number, slots: number, share: NonNullable<Shape['tokens']>): Uint32Array {
  const one = random.integer(0, slots);
  return Uint32Array.from({ length: tokens }, (_, token) => {
    if (share === 'none') return NONE;
    if (share === 'one') return one;
    if (share === 'blocks') return (Math.floor(token / 3) + one) % slots;
    return share === 'all' || token === 0 || random.integer(0, 3) > 0 ? random.integer(0, slots) : NONE;
  });
}

/** Of each token with an adapter, its row of hidden and how far off it may be. */
function hiddenRows({ k, rank, columns, weights, activations = 'f32' }: Shape, { inputs, sizes }: Prepared) {
  const width = columns.length * rank;
  const x = decodeFloats(activations, inputs.x!);
  const a = decodeFloats(weights, inputs.a!);
  const slots = inputs.adapters as Uint32Array;
  const [values, errors] = [new Float64Array(sizes.tokens * width), new Float64Array(sizes.tokens * width)];
  for (let token = 0; token < sizes.tokens; token++) {
    if (slots[token] === NONE) continue;
    for (let row = 0; row < width; row++) {
      const at = (slots[token]! * width + row) * k;
      let sum = 0;
      for (let i = 0; i < k; i++) sum += x[token * k + i]! * a[at + i]!;
      values[token * width + row] = sum;
      errors[token * width + row] = dotBound(x, token * k, a, at, k) + 2 * u * Math.abs(sum);
    }
  }
  return { values, errors, width };
}

type Prepared = Omit<CheckArguments, 'actual'>;

function checkHidden(shape: Shape) {
  return within('dot products in f32, see dot-bound.ts', args => {
    const { errors } = hiddenRows(shape, args);
    return i => errors[i]!;
  });
}

const reason =
  'a dot product in f32 (see dot-bound.ts) of values that are off by the error of another one; scaled, and added in f32';

function checkOut(shape: Shape) {
  const { rank, columns, weights, activations = 'f32' } = shape;
  return withinRounded(reason, activations, [], args => {
    const { values, errors, width } = hiddenRows(shape, args);
    const b = decodeFloats(weights, args.inputs.b!);
    const scales = args.inputs.scales as Float32Array;
    const slots = args.inputs.adapters as Uint32Array;
    const before = decodeFloats(activations, args.inputs.out!);
    const slices = columns.flatMap((count, slice) => Array.from({ length: count }, () => slice));
    return i => {
      const [token, column] = [Math.floor(i / slices.length), i % slices.length];
      const slot = slots[token]!;
      if (slot === NONE) return 0;
      const slice = slices[column]!;
      const scale = scales[slot * columns.length + slice]!;
      const start = token * width + slice * rank;
      const error = dotBound(values, start, b, (slot * slices.length + column) * rank, rank, errors);
      const added = Math.abs(args.expected[i]! - before[i]!);
      return scale * error + 4 * u * (added + Math.abs(before[i]!));
    };
  });
}
