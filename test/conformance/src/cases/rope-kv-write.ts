import { isCacheDType, NONE } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { type CacheType, codeChecks, declareCaches, randomCaches } from '../caches.ts';
import { compareValues, roundingBound } from '../checks.ts';
import { group } from '../define.ts';
import { floats, type Pattern, type Random } from '../random.ts';
import {
  declareNorms,
  normInputs,
  normsName,
  positionOf,
  ROTARY_POSITIONS,
  type RotaryShape,
  rotaryTable,
  rotatedCheck,
  rotationBound,
  rotationReason,
} from '../rotary.ts';
import type { CaseGroup, CaseVariant, CheckArguments, FloatType, OutputCheck } from '../types.ts';

interface Shape extends RotaryShape {
  blockSize: number;
  kv: CacheType;
  /** Default f32. */
  activations?: FloatType;
  quick: boolean;
}
const BLOCKS = 9;
const TOKENS = 33;

export function ropeKvWriteCases(): CaseGroup[] {
  const geometries: readonly Omit<Shape, 'kv'>[] = [
    { heads: 1, kvHeads: 1, headDim: 32, rotaryDim: 32, interleaved: false, blockSize: 16, quick: true },
    { heads: 4, kvHeads: 2, headDim: 64, rotaryDim: 64, interleaved: false, blockSize: 16, quick: true },
    { heads: 6, kvHeads: 2, headDim: 32, rotaryDim: 32, interleaved: true, blockSize: 16, quick: true },
    { heads: 3, kvHeads: 3, headDim: 80, rotaryDim: 32, interleaved: false, blockSize: 8, quick: true },
    { heads: 2, kvHeads: 1, headDim: 96, rotaryDim: 24, interleaved: true, blockSize: 16, quick: false },
    { heads: 8, kvHeads: 1, headDim: 128, rotaryDim: 128, interleaved: false, blockSize: 32, quick: false },
    // Halves of an odd length: the words of an f16 cache lie across pairs.
    { heads: 2, kvHeads: 2, headDim: 6, rotaryDim: 6, interleaved: false, blockSize: 4, quick: true },
    { heads: 3, kvHeads: 1, headDim: 12, rotaryDim: 10, interleaved: false, blockSize: 4, quick: true },
    { heads: 2, kvHeads: 1, headDim: 10, rotaryDim: 6, interleaved: true, blockSize: 8, quick: false },
    { heads: 32, kvHeads: 8, headDim: 64, rotaryDim: 64, interleaved: false, blockSize: 16, quick: false },
    {
      heads: 4,
      kvHeads: 2,
      headDim: 128,
      rotaryDim: 128,
      interleaved: false,
      norms: 'bf16',
      blockSize: 16,
      quick: true,
    },
    { heads: 2, kvHeads: 1, headDim: 20, rotaryDim: 12, interleaved: false, norms: 'f16', blockSize: 4, quick: true },
    { heads: 3, kvHeads: 1, headDim: 12, rotaryDim: 10, interleaved: false, norms: 'f32', blockSize: 4, quick: false },
  ];
  const plain = { heads: 4, kvHeads: 2, headDim: 64, rotaryDim: 64, interleaved: false, blockSize: 16 };
  const sixteen: readonly Shape[] = [
    { ...plain, activations: 'f16', kv: 'f16', quick: true },
    { ...plain, activations: 'bf16', kv: 'bf16', quick: true },
    { ...plain, activations: 'bf16', kv: 'bf16', headDim: 128, rotaryDim: 128, norms: 'bf16', quick: true },
    { ...plain, activations: 'f16', kv: 'f16', headDim: 80, rotaryDim: 32, norms: 'f32', quick: false },
    { ...plain, activations: 'bf16', kv: 'f32', headDim: 80, rotaryDim: 32, quick: false },
    { ...plain, activations: 'f16', kv: 'f32', interleaved: true, quick: false },
    ...(['i8', 'f8e4m3'] as const).flatMap(kv => [
      { ...plain, kv, quick: true },
      { ...plain, kv, headDim: 20, rotaryDim: 12, blockSize: 4, norms: 'f16', quick: true } as const,
      { ...plain, activations: 'bf16', kv, headDim: 128, rotaryDim: 128, norms: 'bf16', quick: true } as const,
      { ...plain, activations: 'f16', kv, headDim: 80, rotaryDim: 32, interleaved: true, quick: false } as const,
    ]),
  ];
  return [
    ...geometries.flatMap(shape => (['f32', 'f16'] as const).flatMap(kv => writes({ ...shape, kv }))),
    ...sixteen.flatMap(writes),
  ];
}

function writes(shape: Shape): CaseGroup[] {
  const { heads, kvHeads, headDim, rotaryDim, interleaved, blockSize, kv, activations = 'f32', quick } = shape;
  const width = (heads + 2 * kvHeads) * headDim;
  const slots = BLOCKS * blockSize;
  const cache = [BLOCKS, kvHeads, blockSize, headDim];
  const variant = (name: string, count: number, order: string, pattern: Pattern, slot: SlotChoice): CaseVariant => ({
    name: `${name} positions=${order} ${pattern}`,
    sizes: { tokens: count },
    fill: random => ({
      // The magnitudes of `wide`, brought into the range of f16.
      qkv: encodeFloats(
        activations,
        floats(random, count * width, pattern, activations === 'f16' && pattern === 'wide' ? 2 ** -8 : 1),
      ),
      positions: Uint32Array.from({ length: count }, (_, i) => positionOf(order, random, i)),
      table: rotaryTable(rotaryDim),
      ...normInputs(random, shape),
      slotMapping: Uint32Array.from(slot(random)),
      ...randomCaches(random, kv, slots * kvHeads * headDim, headDim),
    }),
  });
  const scattered = (count: number) => (random: Random) => random.distinct(count, 0, slots);
  return group({
    name: [
      `heads=${heads}/${kvHeads}x${headDim} rotary=${rotaryDim}${interleaved ? ' interleaved' : ''}${normsName(shape)}`,
      `block=${blockSize} kv=${kv}${activations === 'f32' ? '' : ` activations=${activations}`}`,
    ].join(' '),
    quick,
    maxSizes: { tokens: TOKENS },
    build(builder) {
      builder.external('qkv', activations, ['tokens', width]);
      builder.external('positions', 'u32', ['tokens']);
      builder.external('table', 'f32', [ROTARY_POSITIONS, rotaryDim]);
      builder.external('slotMapping', 'u32', ['tokens']);
      const caches = declareCaches(builder, kv, cache);
      const tensors = { qkv: 'qkv', positions: 'positions', table: 'table', slotMapping: 'slotMapping' };
      const geometry = { heads, kvHeads, headDim, rotaryDim, interleaved, blockSize, ...declareNorms(builder, shape) };
      builder.add({ op: 'ropeKvWrite', ...tensors, ...caches, ...geometry });
    },
    checks: {
      qkv: rotatedCheck(shape, activations, reason),
      ...cacheChecks(shape),
    },
    variants: [
      variant('one token', 1, 'random', 'normal', scattered(1)),
      variant('one token, last slot', 1, 'last', 'ties', () => [slots - 1]),
      variant('scattered', Math.min(TOKENS, slots), 'random', 'outliers', scattered(Math.min(TOKENS, slots))),
      variant('half padding', 16, 'consecutive', 'normal', random =>
        scattered(16)(random).map((slot, i) => (i % 2 === 0 ? slot : NONE)),
      ),
      // Numbers beyond the range of f16 would be infinite before the op.
      variant('padding only', 7, 'random', activations === 'f16' ? 'sparse' : 'wide', () => new Array(7).fill(NONE)),
    ],
  });
}
type SlotChoice = (random: Random) => number[];

const reason =
  `${rotationReason}; then a rounding to the dtype of qkv and one to that of the cache, which may go either way: one unit in the ` +
  'last place each; 2^-24 where f16 is subnormal; what is not written is left as it is';

/** A last place of 16-bit activations may be a code. */
function cacheChecks(shape: Shape): Record<string, OutputCheck> {
  const { kv, heads, kvHeads, activations = 'f32' } = shape;
  if (isCacheDType(kv)) return codeChecks(kv, activations === 'f32' ? 1 : 2, activations === 'f32' ? 1e-5 : 2 ** -6);
  return { kCache: cached(shape, kv, heads), vCache: cached(shape, kv, heads + kvHeads) };
}

/** The bound of a cache whose first head is head `firstHead` of qkv. */
function cached(shape: Shape, kv: FloatType, firstHead: number): OutputCheck {
  return {
    reason,
    compare({ inputs, sizes, expected, actual }) {
      const [a, b] = [decodeFloats(kv, expected), decodeFloats(kv, actual)];
      const bounds = cacheBounds(shape, kv, firstHead, { inputs, sizes, expected: a });
      return compareValues(a, b, i => bounds[i]!);
    },
  };
}

/** Per element of a cache: 0 where no token of the step is written. */
function cacheBounds(
  shape: Shape,
  kv: FloatType,
  firstHead: number,
  args: Omit<CheckArguments, 'actual'>,
): Float64Array {
  const { heads, kvHeads, headDim, blockSize, activations = 'f32' } = shape;
  const { inputs, sizes, expected } = args;
  const bound = rotationBound(shape, decodeFloats(activations, inputs.qkv!), inputs);
  const bounds = new Float64Array(expected.length);
  for (let token = 0; token < sizes.tokens; token++) {
    const slot = inputs.slotMapping![token]!;
    if (slot === NONE) continue;
    for (let head = 0; head < kvHeads; head++) {
      const from = (token * (heads + 2 * kvHeads) + firstHead + head) * headDim;
      const to = ((Math.floor(slot / blockSize) * kvHeads + head) * blockSize + (slot % blockSize)) * headDim;
      for (let d = 0; d < headDim; d++) {
        const value = expected[to + d]!;
        const turned = bound(from + d);
        const stored = turned && turned + roundingBound(activations, value);
        bounds[to + d] = stored + (kv === activations ? 0 : roundingBound(kv, value));
      }
    }
  }
  return bounds;
}
