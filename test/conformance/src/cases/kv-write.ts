import { isCacheDType, NONE } from '@quire/core/contract';
import { decodeFloats, encodeFloats } from '@quire/core/program';
import { type CacheType, codeChecks, declareCaches, randomCaches } from '../caches.ts';
import { compareValues, exact, roundingBound } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats, type Pattern, type Random } from '../random.ts';
import type { CaseGroup, CaseVariant, FloatType, OutputCheck } from '../types.ts';

interface Shape {
  heads: number;
  kvHeads: number;
  headDim: number;
  blockSize: number;
  blocks: number;
  kv: CacheType;
  /** Default f32. */
  activations?: FloatType;
  quick: boolean;
}

export function kvWriteCases(): CaseGroup[] {
  const geometries: readonly (readonly [heads: number, kvHeads: number, headDim: number, blockSize: number])[] = [
    [1, 1, 32, 16],
    [4, 2, 64, 16],
    [3, 3, 80, 16],
    [8, 1, 96, 8],
    [7, 1, 128, 32],
    [6, 2, 12, 4],
  ];
  const plain = { heads: 4, kvHeads: 2, headDim: 64, blockSize: 16, blocks: 9, quick: true };
  return [
    ...geometries.flatMap(([heads, kvHeads, headDim, blockSize], i) =>
      (['f32', 'f16'] as const).flatMap(kv =>
        writes({ heads, kvHeads, headDim, blockSize, blocks: 9, kv, quick: i !== 4 }),
      ),
    ),
    ...writes({ ...plain, activations: 'bf16', kv: 'bf16' }),
    ...writes({ ...plain, activations: 'f16', kv: 'f16', headDim: 80 }),
    ...writes({ ...plain, activations: 'bf16', kv: 'f32', quick: false }),
    ...(['i8', 'f8e4m3'] as const).flatMap(kv => [
      ...writes({ ...plain, kv }),
      ...writes({ ...plain, heads: 6, headDim: 12, blockSize: 4, kv }),
      ...writes({ ...plain, heads: 7, kvHeads: 1, headDim: 128, blockSize: 32, kv, quick: false }),
      ...writes({ ...plain, activations: 'bf16', kv }),
      ...writes({ ...plain, activations: 'f16', headDim: 80, kv, quick: false }),
    ]),
    ...writes({ ...plain, activations: 'f16', kv: 'bf16', quick: false }),
  ];
}

function writes({ heads, kvHeads, headDim, blockSize, blocks, kv, activations = 'f32', quick }: Shape): CaseGroup[] {
  const width = (heads + 2 * kvHeads) * headDim;
  const tokens = 40;
  const slots = blocks * blockSize;
  const cacheElements = slots * kvHeads * headDim;
  const cache = [blocks, kvHeads, blockSize, headDim];
  const variant = (name: string, count: number, pattern: Pattern, slot: (random: Random) => number[]): CaseVariant => ({
    name: `${name} ${pattern}`,
    sizes: { tokens: count },
    ...(name === 'padding only' ? { trivial: 'nothing is written' } : {}),
    fill: random => ({
      qkv: encodeFloats(activations, floats(random, count * width, pattern)),
      slotMapping: Uint32Array.from(slot(random)),
      ...randomCaches(random, kv, cacheElements, headDim),
    }),
  });
  const scattered = (count: number) => (random: Random) =>
    random.distinct(Math.min(count, slots), 0, slots).concat(new Array(Math.max(0, count - slots)).fill(NONE));
  return group({
    name: `heads=${heads}/${kvHeads}x${headDim} block=${blockSize} kv=${kv}${dtypeName(activations)}`,
    quick,
    maxSizes: { tokens },
    build(builder) {
      builder.external('qkv', activations, ['tokens', width]);
      builder.external('slotMapping', 'u32', ['tokens']);
      builder.add({
        op: 'kvWrite',
        qkv: 'qkv',
        slotMapping: 'slotMapping',
        ...declareCaches(builder, kv, cache),
        heads,
        kvHeads,
        headDim,
        blockSize,
      });
    },
    checks: checksOf(kv, activations),
    variants: [
      variant('scattered', tokens, 'normal', scattered(tokens)),
      variant('one token', 1, 'normal', scattered(1)),
      variant('one token, last slot', 1, 'ties', () => [slots - 1]),
      variant('consecutive', Math.min(19, slots), 'outliers', () =>
        Array.from({ length: Math.min(19, slots) }, (_, i) => i),
      ),
      variant('half padding', 16, 'normal', random =>
        scattered(16)(random).map((slot, i) => (i % 2 === 0 ? slot : NONE)),
      ),
      variant('padding only', 7, 'normal', () => new Array(7).fill(NONE)),
      variant('backwards', Math.min(33, slots), 'sparse', () =>
        Array.from({ length: Math.min(33, slots) }, (_, i) => slots - 1 - i),
      ),
    ],
  });
}

/** Quotients of WGSL may be off by 2.5 units in the last place. */
function checksOf(kv: CacheType, activations: FloatType): Record<string, OutputCheck> {
  if (isCacheDType(kv)) return codeChecks(kv, 1, 2 ** -21);
  const check = holds(kv, activations) ? exact('a copy') : rounded(kv);
  return { kCache: check, vCache: check };
}

function holds(kv: FloatType, activations: FloatType): boolean {
  return kv === 'f32' || kv === activations;
}

/** Adapters may round either way, and flush subnormals. */
function rounded(kv: FloatType): OutputCheck {
  return {
    reason: `rounding to ${kv} may go either way: one unit in the last place; 6.1e-5 is the smallest normal f16`,
    compare({ expected, actual }) {
      const [a, b] = [decodeFloats(kv, expected), decodeFloats(kv, actual)];
      return compareValues(a, b, i => roundingBound(kv, a[i]!));
    },
  };
}
