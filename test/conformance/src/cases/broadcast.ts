import { exact } from '../checks.ts';
import { group } from '../define.ts';
import type { CaseGroup } from '../types.ts';

/** In a pipeline of one stage: x is that of all as it is. */
export function broadcastCases(): CaseGroup[] {
  return [1, 2, 3, 8].flatMap(width =>
    group({
      name: `width=${width}`,
      quick: width > 1,
      maxSizes: { samples: 12 },
      trivial: 'x is that of all as it is',
      build(builder) {
        const x = builder.external('x', 'u32', ['samples', width]);
        builder.add({ op: 'broadcast', x, fromStage: 0 });
      },
      checks: { x: exact('x is that of all as it is') },
      variants: [12, 1, 2, 3, 5, 7, 9, 11].map(samples => ({
        name: `samples=${samples}`,
        sizes: { samples },
        fill: random => ({ x: Uint32Array.from({ length: samples * width }, () => random.integer(0, 2 ** 31)) }),
      })),
    }),
  );
}
