import { MASKED_LOGIT, NONE, ROW_WORDS, SAMPLE_WORDS, Sample } from '@quire/core/contract';
import { u, within } from '../checks.ts';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import { type LogitKind, logitKinds, logitRows, type SampleSpec, samplerRows, samples } from '../sampler-data.ts';
import { bitsOf } from '../scenario.ts';
import type { CaseGroup, CaseInputs } from '../types.ts';

interface Shape {
  vocab: number;
  maxSamples: number;
  words: number;
  inPlace: boolean;
  quick: boolean;
  kinds: readonly LogitKind[];
}
/** Entries of a row's list. */
interface List {
  stopIds: number;
  biases: number;
  /** Whether the position is still below minTokensUntil, where the stop ids are masked. */
  early: boolean;
}
const MAX_BIAS = 100;

const lists: Readonly<Record<string, (random: Random, words: number) => List>> = {
  stops: (random, words) => ({ stopIds: random.integer(1, words + 1), biases: 0, early: true }),
  'stops allowed': (random, words) => ({
    stopIds: Math.min(2, words - 2),
    biases: random.integer(1, words / 2),
    early: false,
  }),
  biases: (_, words) => ({ stopIds: 0, biases: Math.floor(words / 2), early: true }),
  both: random => ({ stopIds: 2, biases: 2, early: random.integer(0, 2) === 0 }),
};

export function biasLogitsCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { vocab: 40, maxSamples: 6, words: 8, inPlace: false, quick: true, kinds: logitKinds },
    { vocab: 97, maxSamples: 5, words: 17, inPlace: true, quick: true, kinds: logitKinds },
    { vocab: 3000, maxSamples: 4, words: 700, inPlace: true, quick: true, kinds: ['spread', 'ties', 'masked'] },
    { vocab: 50_272, maxSamples: 2, words: 64, inPlace: true, quick: false, kinds: ['spread'] },
    { vocab: 151_936, maxSamples: 1, words: 300, inPlace: false, quick: false, kinds: ['spread'] },
  ];
  return shapes.flatMap(biased);
}

function biased({ vocab, maxSamples, words, inPlace, quick, kinds }: Shape): CaseGroup[] {
  const maxRows = maxSamples + 2;
  const out = inPlace ? 'logits' : 'out';
  return group({
    name: `vocab=${vocab} words=${words}${inPlace ? ' in place' : ''}`,
    quick,
    maxSizes: { samples: maxSamples },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
      builder.external('biases', 'u32', [maxRows, words]);
      if (!inPlace) builder.external('out', 'f32', ['samples', vocab]);
      builder.add({ op: 'biasLogits', logits: 'logits', samples: 'samples', rows: 'rows', biases: 'biases', out });
    },
    checks: { [out]: check(vocab) },
    variants: Object.entries(lists).flatMap(([name, list], n) =>
      kinds.map((kind, k) => {
        const count = 1 + ((n + k) % maxSamples);
        return {
          name: `${name} ${kind} samples=${count}`,
          sizes: { samples: count },
          ...(kind === 'masked' && { trivial: 'what changes may be masked already' }),
          fill: (random: Random) => biasData(random, { count, vocab, maxRows, words, kind }, list),
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
  words: number;
  kind: LogitKind;
}

function biasData(
  random: Random,
  { count, vocab, maxRows, words, kind }: DataShape,
  list: (random: Random, words: number) => List,
): CaseInputs {
  const biases = Uint32Array.from({ length: maxRows * words }, () => random.word());
  const numTokens = 20;
  const rows = Array.from({ length: maxRows }, (_, row) => {
    const { stopIds, biases: numBiases, early } = list(random, words);
    const ids = random.distinct(Math.min(stopIds + numBiases, vocab), 0, vocab);
    const entries = ids.flatMap((id, i) => (i < stopIds ? [id] : [id, bitsOf((2 * random.uniform() - 1) * MAX_BIAS)]));
    biases.set(entries, row * words);
    const counts = { numStopIds: Math.min(stopIds, ids.length), numBiases: Math.max(0, ids.length - stopIds) };
    return { numTokens, promptTokens: 5, minTokensUntil: numTokens + Number(early), ...counts };
  });
  const specs = random.distinct(count, 0, maxRows).map((row, i): SampleSpec => {
    const role = i === 0 ? 'sampled' : random.pick(['sampled', 'sampled', 'known', 'padding']);
    if (role === 'padding') return { row: NONE, position: 0 };
    return role === 'known' ? { row, position: 9, target: random.integer(0, vocab) } : { row, position: numTokens };
  });
  return { logits: logitRows(random, count, vocab, kind), samples: samples(specs), rows: samplerRows(rows), biases };
}

function check(vocab: number) {
  return within('one sum: 2u (|logit| + |bias|); masks and copies are exact', ({ inputs, expected }) => {
    const records = inputs.samples!;
    return i => {
      const sample = Math.floor(i / vocab);
      const copied =
        records[sample * SAMPLE_WORDS + Sample.row] === NONE || records[sample * SAMPLE_WORDS + Sample.target] !== NONE;
      const kept = copied || expected[i] === inputs.logits![i] || expected[i] === Math.fround(MASKED_LOGIT);
      return kept ? 0 : 2 * u * (Math.abs(inputs.logits![i]!) + MAX_BIAS);
    };
  });
}
