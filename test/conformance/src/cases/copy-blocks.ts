import { isCacheDType, NONE } from '@quire/core/contract';
import { type CacheType, declareCaches, randomCaches } from '../caches.ts';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import type { CaseGroup } from '../types.ts';

const BLOCKS = 12;
const PAIRS = 6;

type Pairs = readonly (readonly [from: number, to: number])[];
const none: readonly [number, number] = [NONE, NONE];
const lists: Readonly<Record<string, (random: Random) => Pairs>> = {
  one: () => [[3, 7]],
  'all pairs': random => {
    const blocks = random.distinct(2 * PAIRS, 0, BLOCKS);
    return Array.from({ length: PAIRS }, (_, i) => [blocks[2 * i]!, blocks[2 * i + 1]!] as const);
  },
  'one source': () => [1, 4, 6, 11].map(to => [9, to] as const),
  swap: () => [
    [2, 5],
    [5, 2],
  ],
  rotation: () => [
    [1, 2],
    [2, 3],
    [3, 1],
  ],
  chain: () => [
    [0, 1],
    [1, 2],
    [2, 3],
    [3, 4],
  ],
  'gaps between': () => [none, [8, 1], none, [1, 10], none],
  'half given': () => [
    [NONE, 3],
    [4, NONE],
    [6, 5],
  ],
};

export function copyBlocksCases(): CaseGroup[] {
  const shapes: [kvHeads: number, blockSize: number, headDim: number, kv: CacheType, quick: boolean][] = [
    [1, 16, 32, 'f32', true],
    [2, 16, 64, 'f16', true],
    [3, 4, 5, 'f32', true],
    [1, 3, 6, 'f16', true],
    [8, 16, 80, 'f16', false],
    [2, 32, 96, 'f32', false],
    [4, 8, 128, 'f16', false],
    [2, 16, 64, 'bf16', true],
    [2, 16, 64, 'i8', true],
    [3, 4, 12, 'i8', false],
    [1, 8, 32, 'f8e4m3', true],
  ];
  return shapes.flatMap(([kvHeads, blockSize, headDim, kv, quick]) =>
    group({
      name: `kvHeads=${kvHeads} block=${blockSize} headDim=${headDim} kv=${kv}`,
      quick,
      maxSizes: {},
      build(builder) {
        const cache = [BLOCKS, kvHeads, blockSize, headDim];
        const caches = declareCaches(builder, kv, cache);
        builder.external('pairs', 'u32', [PAIRS, 2]);
        builder.add({ op: 'copyBlocks', ...caches, pairs: 'pairs' });
      },
      checks: Object.fromEntries(
        (isCacheDType(kv) ? ['kCache', 'vCache', 'kScales', 'vScales'] : ['kCache', 'vCache']).map(name => [
          name,
          exact('a copy'),
        ]),
      ),
      variants: Object.entries(lists).map(([name, list]) => ({
        name,
        fill: random => ({
          ...randomCaches(random, kv, BLOCKS * kvHeads * blockSize * headDim, headDim),
          pairs: padded(list(random)),
        }),
      })),
    }),
  );
}

function padded(pairs: Pairs): Uint32Array {
  return Uint32Array.from(Array.from({ length: PAIRS }, (_, i) => pairs[i] ?? none).flat());
}
