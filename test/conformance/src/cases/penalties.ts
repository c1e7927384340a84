import { NONE, ROW_WORDS, SAMPLE_WORDS, Sample } from '@quire/core/contract';
import { u, within } from '../checks.ts';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import {
  type LogitKind,
  logitKinds,
  logitRows,
  rowFloat,
  type SamplerRow,
  type SampleSpec,
  samplerRows,
  samples,
} from '../sampler-data.ts';
import type { CaseGroup, CaseInputs, CaseVariant } from '../types.ts';

interface Shape {
  vocab: number;
  maxSamples: number;
  maxModelLen: number;
  inPlace: boolean;
  quick: boolean;
  kinds: readonly LogitKind[];
}

const settings: Readonly<Record<string, (random: Random) => SamplerRow>> = {
  repetition: random => ({ repetitionPenalty: random.pick([1.1, 1.5, 2]) }),
  frequency: random => ({ frequencyPenalty: random.pick([0.25, 2, -0.5]) }),
  presence: random => ({ presencePenalty: random.pick([0.5, 2, -2]) }),
  all: random => ({ repetitionPenalty: 1.3, frequencyPenalty: random.uniform(), presencePenalty: random.uniform() }),
  mixed: random =>
    random.pick<SamplerRow>([
      {},
      { repetitionPenalty: 0.8 },
      { frequencyPenalty: 1 },
      { presencePenalty: -1, frequencyPenalty: 0.5 },
    ]),
};

export function penaltiesCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { vocab: 40, maxSamples: 6, maxModelLen: 64, inPlace: false, quick: true, kinds: logitKinds },
    { vocab: 97, maxSamples: 5, maxModelLen: 33, inPlace: true, quick: true, kinds: logitKinds },
    { vocab: 2048, maxSamples: 4, maxModelLen: 500, inPlace: false, quick: false, kinds: ['spread', 'ties', 'masked'] },
    { vocab: 50_272, maxSamples: 2, maxModelLen: 256, inPlace: true, quick: true, kinds: ['spread'] },
    { vocab: 151_936, maxSamples: 1, maxModelLen: 2048, inPlace: false, quick: false, kinds: ['spread'] },
  ];
  return shapes.flatMap(penalised);
}

function penalised({ vocab, maxSamples, maxModelLen, inPlace, quick, kinds }: Shape): CaseGroup[] {
  const maxRows = maxSamples + 2;
  const out = inPlace ? 'logits' : 'out';
  const real = vocab > 10_000;
  const names = Object.keys(settings).slice(0, real ? 4 : 5);
  return group({
    name: `vocab=${vocab}${inPlace ? ' in place' : ''}`,
    quick,
    maxSizes: { samples: maxSamples },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
      builder.external('tokenIds', 'u32', [maxRows, maxModelLen]);
      if (!inPlace) builder.external('out', 'f32', ['samples', vocab]);
      builder.add({ op: 'penalties', logits: 'logits', samples: 'samples', rows: 'rows', tokenIds: 'tokenIds', out });
    },
    checks: { [out]: check(vocab) },
    variants: names.flatMap((name, n) =>
      kinds.map((kind, k): CaseVariant => {
        const count = 1 + ((n + k) % maxSamples);
        return {
          name: `${name} ${kind} samples=${count}`,
          sizes: { samples: count },
          fill: random => penaltyData(random, { count, vocab, maxRows, maxModelLen, kind }, settings[name]!),
          ...((name === 'mixed' || kind === 'masked') && {
            trivial: 'rows may have no penalty, or mask all tokens seen',
          }),
        };
      }),
    ),
    guarded: !inPlace && !real,
  });
}

interface DataShape {
  count: number;
  vocab: number;
  maxRows: number;
  maxModelLen: number;
  kind: LogitKind;
}

function penaltyData(random: Random, shape: DataShape, setting: (random: Random) => SamplerRow): CaseInputs {
  const { count, vocab, maxRows, maxModelLen, kind } = shape;
  const rows = Array.from({ length: maxRows }, () => {
    const numTokens = random.integer(2, maxModelLen);
    return { numTokens, promptTokens: random.integer(1, numTokens), ...setting(random) };
  });
  const rowOf = random.distinct(count, 0, maxRows);
  const specs = rowOf.map((row, i): SampleSpec => {
    // The first is always sampled; others may be padding, or known already.
    const role = i === 0 ? 'sampled' : random.pick(['sampled', 'sampled', 'known', 'padding']);
    if (role === 'padding') return { row: NONE, position: 0 };
    const position = rows[row]!.numTokens;
    return role === 'known' ? { row, position: position - 1, target: random.integer(0, vocab) } : { row, position };
  });
  return {
    logits: logitRows(random, count, vocab, kind),
    samples: samples(specs),
    rows: samplerRows(rows),
    // Few different tokens, so that counts are above one; some of them beyond any subset of lanes.
    tokenIds: Uint32Array.from({ length: maxRows * maxModelLen }, () =>
      Math.min(vocab - 1, Math.floor(vocab * random.uniform() ** 3)),
    ),
  };
}

function check(vocab: number) {
  const reason =
    'a division (2.5 units), a product and two sums: 4u of each term; samples that are known or padding are copied';
  return within(reason, ({ inputs, expected }) => {
    const records = inputs.samples!;
    const rows = inputs.rows as Uint32Array;
    return i => {
      const sample = Math.floor(i / vocab);
      const row = records[sample * SAMPLE_WORDS + Sample.row]!;
      if (row === NONE || records[sample * SAMPLE_WORDS + Sample.target] !== NONE) return 0;
      const repetition = rowFloat(rows, row, 'repetitionPenalty');
      const position = records[sample * SAMPLE_WORDS + Sample.position]!;
      const subtracted =
        Math.abs(rowFloat(rows, row, 'frequencyPenalty')) * position + Math.abs(rowFloat(rows, row, 'presencePenalty'));
      const scaled = Math.abs(inputs.logits![i]!) * Math.max(repetition, 1 / repetition);
      return 4 * u * (scaled + subtracted + Math.abs(expected[i]!));
    };
  });
}
