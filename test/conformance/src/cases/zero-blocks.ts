import { isCacheDType, NONE } from '@quire/core/contract';
import { type CacheType, declareCaches, randomCaches } from '../caches.ts';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import type { CaseGroup } from '../types.ts';

const BLOCKS = 11;
const ENTRIES = 6;

const lists: Readonly<Record<string, (random: Random) => readonly number[]>> = {
  first: () => [0],
  last: () => [BLOCKS - 1],
  several: random => random.distinct(ENTRIES, 0, BLOCKS),
  twice: () => [4, 4, 7, 4],
  'gaps between': () => [NONE, 3, NONE, 8],
  neighbours: () => [5, 6],
};

export function zeroBlocksCases(): CaseGroup[] {
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
        builder.external('blocks', 'u32', [ENTRIES]);
        builder.add({ op: 'zeroBlocks', ...caches, blocks: 'blocks' });
      },
      checks: Object.fromEntries(
        (isCacheDType(kv) ? ['kCache', 'vCache', 'kScales', 'vScales'] : ['kCache', 'vCache']).map(name => [
          name,
          exact('zeros, and what was there'),
        ]),
      ),
      variants: Object.entries(lists).map(([name, list]) => ({
        name,
        fill: random => ({
          ...randomCaches(random, kv, BLOCKS * kvHeads * blockSize * headDim, headDim),
          blocks: padded(list(random)),
        }),
      })),
    }),
  );
}

function padded(blocks: readonly number[]): Uint32Array {
  return Uint32Array.from({ length: ENTRIES }, (_, i) => blocks[i] ?? NONE);
}
