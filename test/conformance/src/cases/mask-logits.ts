import { NONE, ROW_WORDS, SAMPLE_WORDS } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import { type LogitKind, logitKinds, logitRows, type SampleSpec, samplerRows, samples } from '../sampler-data.ts';
import type { CaseGroup, CaseInputs } from '../types.ts';

interface Shape {
  vocab: number;
  maxSamples: number;
  inPlace: boolean;
  quick: boolean;
  kinds: readonly LogitKind[];
}

/** Words of a mask by how many of its ids are allowed. */
const fills: Readonly<Record<string, (random: Random) => number>> = {
  half: random => random.word(),
  few: random => (random.integer(0, 8) === 0 ? 1 << random.integer(0, 32) : 0),
  most: random => ~(random.integer(0, 8) === 0 ? 1 << random.integer(0, 32) : 0),
  none: () => 0,
};

export function maskLogitsCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { vocab: 40, maxSamples: 6, inPlace: false, quick: true, kinds: logitKinds },
    { vocab: 97, maxSamples: 5, inPlace: true, quick: true, kinds: logitKinds },
    { vocab: 3000, maxSamples: 4, inPlace: true, quick: true, kinds: ['spread', 'ties', 'masked'] },
    { vocab: 50_272, maxSamples: 2, inPlace: true, quick: false, kinds: ['spread'] },
    { vocab: 151_936, maxSamples: 1, inPlace: false, quick: false, kinds: ['spread'] },
  ];
  return shapes.flatMap(masked);
}

function masked({ vocab, maxSamples, inPlace, quick, kinds }: Shape): CaseGroup[] {
  const maxRows = maxSamples + 2;
  const out = inPlace ? 'logits' : 'out';
  return group({
    name: `vocab=${vocab}${inPlace ? ' in place' : ''}`,
    quick,
    maxSizes: { samples: maxSamples },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
      builder.external('masks', 'u32', [maxRows, Math.ceil(vocab / 32)]);
      if (!inPlace) builder.external('out', 'f32', ['samples', vocab]);
      builder.add({ op: 'maskLogits', logits: 'logits', samples: 'samples', rows: 'rows', masks: 'masks', out });
    },
    checks: { [out]: exact('masks and copies are exact') },
    variants: Object.entries(fills).flatMap(([name, fill], n) =>
      kinds.map((kind, k) => {
        const count = 1 + ((n + k) % maxSamples);
        return {
          name: `${name} ${kind} samples=${count}`,
          sizes: { samples: count },
          ...((kind === 'masked' || name === 'none' || name === 'most') && {
            trivial: 'what is masked may be masked already, or be all or next to nothing',
          }),
          fill: (random: Random) => maskData(random, { count, vocab, maxRows, kind }, fill),
        };
      }),
    ),
    guarded: !inPlace && vocab < 10_000,
  });
}

interface DataShape {
  count: number;
  vocab: number;
  maxRows: number;
  kind: LogitKind;
}

/** The first sample is masked; among the others are rows without a mask, known tokens and padding. */
function maskData(
  random: Random,
  { count, vocab, maxRows, kind }: DataShape,
  fill: (random: Random) => number,
): CaseInputs {
  const masks = Uint32Array.from({ length: maxRows * Math.ceil(vocab / 32) }, () => fill(random));
  const rows = Array.from({ length: maxRows }, () => ({ numTokens: 20, masked: random.integer(0, 4) === 0 ? 0 : 1 }));
  const specs = random.distinct(count, 0, maxRows).map((row, i): SampleSpec => {
    const role = i === 0 ? 'sampled' : random.pick(['sampled', 'sampled', 'known', 'padding']);
    if (i === 0) rows[row]!.masked = 1;
    if (role === 'padding') return { row: NONE, position: 0 };
    return role === 'known' ? { row, position: 9, target: random.integer(0, vocab) } : { row, position: 20 };
  });
  return { logits: logitRows(random, count, vocab, kind), samples: samples(specs), rows: samplerRows(rows), masks };
}
