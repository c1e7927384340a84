import { NONE, SAMPLE_WORDS } from '@quire/core/contract';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import { damage, type LogitKind, logitRows, type SampleSpec, samples } from '../sampler-data.ts';
import type { CaseGroup, CaseVariant } from '../types.ts';
import { sampledCheck } from './sample.ts';

type Edit = (random: Random, logits: Float32Array, vocab: number) => void;

const edits: Readonly<Record<string, Edit>> = {
  plain: () => {},
  'NaN rows': (random, logits, vocab) => damage(random, logits, vocab, 'NaN'),
  'infinite rows': (random, logits, vocab) => damage(random, logits, vocab, 'infinite'),
  'first wins': (_, logits, vocab) => setAll(logits, vocab, [0, 1, vocab - 1], 50),
  'last wins': (_, logits, vocab) => setAll(logits, vocab, [vocab - 1], 50),
  'two largest': (random, logits, vocab) => setAll(logits, vocab, random.distinct(2, 0, vocab), 50),
  negative: (_, logits) => {
    for (let i = 0; i < logits.length; i++) logits[i] = -Math.abs(logits[i]!) - 1;
  },
};

export function argmaxCases(): CaseGroup[] {
  const all = Object.keys(edits);
  return [
    ...largest(40, 8, ['spread', 'ties', 'masked'], all, true),
    ...largest(131, 5, ['spread', 'equal'], all, true),
    ...largest(3, 9, ['ties'], all, true),
    ...largest(4097, 4, ['spread', 'ties'], all, false),
    ...largest(50_272, 2, ['spread', 'ties'], all.slice(0, 6), false),
    ...largest(151_936, 2, ['spread'], all.slice(3, 6), true),
    // The sampler's kernels share their grid: this one shows that it goes beyond 65,535 workgroups.
    ...largest(4, 70_000, ['ties'], ['plain'], false),
  ];
}

function largest(
  vocab: number,
  maxSamples: number,
  kinds: readonly LogitKind[],
  names: readonly string[],
  quick: boolean,
): CaseGroup[] {
  return group({
    name: `vocab=${vocab}`,
    quick,
    maxSizes: { samples: maxSamples },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('sampled', 'u32', ['samples', 2]);
      builder.add({ op: 'argmax', logits: 'logits', samples: 'samples', sampled: 'sampled' });
    },
    checks: { sampled: sampledCheck(vocab, false) },
    variants: names.flatMap((name, n) =>
      kinds.map((kind, k): CaseVariant => {
        const count = maxSamples > 1000 ? maxSamples : 1 + ((n + k) % maxSamples);
        return {
          name: `${name} ${kind} samples=${count}`,
          sizes: { samples: count },
          trivial: 'ids may be equal',
          fill(random) {
            const logits = logitRows(random, count, vocab, kind);
            edits[name]!(random, logits, vocab);
            return { logits, samples: samples(specs(random, count, vocab)) };
          },
        };
      }),
    ),
    guarded: maxSamples < 1000 && vocab < 1000,
  });
}

function specs(random: Random, count: number, vocab: number): SampleSpec[] {
  return Array.from({ length: count }, (_, i) => {
    const role = i === 0 ? 'sampled' : random.pick(['sampled', 'sampled', 'sampled', 'known', 'padding']);
    if (role === 'padding') return { row: NONE, position: 0 };
    return { row: i, position: 7, ...(role === 'known' && { target: random.integer(0, vocab) }) };
  });
}

function setAll(logits: Float32Array, vocab: number, ids: readonly number[], value: number): void {
  for (let start = 0; start < logits.length; start += vocab) for (const id of ids) logits[start + id] = value;
}
