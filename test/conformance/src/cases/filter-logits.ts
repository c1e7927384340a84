import { MASKED_LOGIT, NO_THRESHOLD, NONE, ROW_WORDS, Row, SAMPLE_WORDS, Sample } from '@quire/core/contract';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import {
  type Damage,
  damage,
  type LogitKind,
  logitKinds,
  logitRows,
  rowFloat,
  type SamplerRow,
  type SampleSpec,
  samplerRows,
  samples,
} from '../sampler-data.ts';
import type { CaseGroup, CaseInputs, CaseVariant, CheckArguments, Comparison, OutputCheck } from '../types.ts';

const settings: Readonly<Record<string, (random: Random, vocab: number) => SamplerRow>> = {
  topK: (random, vocab) => ({ temperature: 1, topK: random.integer(1, Math.min(vocab, 100)) }),
  'topK=1': () => ({ temperature: 0.8, topK: 1 }),
  'topK>=vocab': (_, vocab) => ({ temperature: 1, topK: vocab + 3 }),
  topP: random => ({ temperature: random.pick([0.5, 0.8, 1, 1.7]), topP: random.pick([0.1, 0.5, 0.9, 0.95, 0.999]) }),
  'topP tiny': () => ({ temperature: 1, topP: 1e-6 }),
  minP: random => ({ temperature: random.pick([0.7, 1, 1.3]), minP: random.pick([0.02, 0.1, 0.5, 1]) }),
  all: (random, vocab) => ({ temperature: 0.8, topP: 0.9, topK: random.integer(2, Math.min(vocab, 60)), minP: 0.01 }),
  mixed: random =>
    random.pick<SamplerRow>([{}, { temperature: 1 }, { temperature: 0.3, topP: 0.8 }, { temperature: 1, topK: 7 }]),
};

const damages: readonly Damage[] = ['NaN', 'infinite'];

export function filterLogitsCases(): CaseGroup[] {
  return [
    ...filters(40, 6, logitKinds, true),
    ...filters(131, 5, ['spread', 'ties', 'masked'], true),
    ...filters(2048, 3, ['spread', 'flat', 'equal'], false),
    ...filters(50_272, 2, ['spread'], false),
    ...filters(151_936, 1, ['spread'], false),
  ];
}

function filters(vocab: number, maxSamples: number, kinds: readonly LogitKind[], quick: boolean): CaseGroup[] {
  const maxRows = maxSamples + 2;
  return group({
    name: `vocab=${vocab}`,
    quick,
    maxSizes: { samples: maxSamples },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
      builder.external('thresholds', 'f32', ['samples']);
      builder.add({ op: 'filterLogits', logits: 'logits', samples: 'samples', rows: 'rows', thresholds: 'thresholds' });
    },
    checks: { thresholds: check(vocab) },
    variants: [
      ...Object.keys(settings).flatMap((name, n) =>
        kinds.map((kind, k) => variant(name, { count: 1 + ((n + k) % maxSamples), vocab, maxRows, kind })),
      ),
      ...(vocab < 1000 ? damages : []).map(damaged =>
        variant('all', { count: maxSamples, vocab, maxRows, kind: 'spread', damaged }),
      ),
    ],
    guarded: vocab < 1000,
  });
}

interface DataShape {
  count: number;
  vocab: number;
  maxRows: number;
  kind: LogitKind;
  damaged?: Damage;
}

function variant(name: string, shape: DataShape): CaseVariant {
  const { count, vocab, kind, damaged } = shape;
  return {
    name: [name, kind, damaged, `samples=${count}`].filter(Boolean).join(' '),
    sizes: { samples: count },
    trivial: 'samples may share a threshold',
    fill: random => filterData(random, shape, settings[name]!),
    // Of the real vocabularies one case is quick.
    ...(vocab > 10_000 && name === 'all' && { quick: vocab < 100_000 }),
  };
}

function filterData(
  random: Random,
  { count, vocab, maxRows, kind, damaged }: DataShape,
  setting: (random: Random, vocab: number) => SamplerRow,
): CaseInputs {
  const rows = Array.from({ length: maxRows }, () => setting(random, vocab));
  const specs = random.distinct(count, 0, maxRows).map((row, i): SampleSpec => {
    const role = i === 0 ? 'sampled' : random.pick(['sampled', 'sampled', 'sampled', 'known', 'padding']);
    if (role === 'padding') return { row: NONE, position: 0 };
    return role === 'known' ? { row, position: 9, target: 3 } : { row, position: 20 };
  });
  const logits = logitRows(random, count, vocab, kind);
  if (damaged !== undefined) damage(random, logits, vocab, damaged);
  return { logits, samples: samples(specs), rows: samplerRows(rows) };
}

/** Sums of exponentials, relative: exp is good to 3 + 2|x| units, and fixed point to 2^-31 per token. */
const massError = (vocab: number) => 1e-5 + vocab * 2 ** -31;

function check(vocab: number): OutputCheck {
  return {
    reason:
      'the same tokens survive, but for those whose probability (min-p) or cumulative mass (top-p) is within the error of ' +
      'f32 exponentials of the limit: 1e-5, and 2^-31 per token for sums in fixed point; masked tokens do not count',
    compare(args) {
      const result: Comparison = { worst: 0 };
      for (let sample = 0; sample < args.expected.length; sample++) {
        const worst = disagreement(args, sample, vocab);
        result.worst = Math.max(result.worst, worst);
        if (worst <= 1) continue;
        const [expected, actual] = [args.expected[sample]!, args.actual[sample]!];
        result.mismatch ??= { index: sample, expected, actual, message: 'other tokens survive' };
      }
      return result;
    },
  };
}

/** How far the tokens on which two thresholds disagree are from the limits, over the tolerance; infinite for NaN. */
function disagreement({ inputs, expected, actual }: CheckArguments, sample: number, vocab: number): number {
  if (expected[sample] === actual[sample]) return 0;
  const [low, high] = [Math.min(expected[sample]!, actual[sample]!), Math.max(expected[sample]!, actual[sample]!)];
  const unfiltered = expected[sample] === Math.fround(NO_THRESHOLD);
  if (unfiltered || Number.isNaN(low)) return Infinity;
  const logits = (inputs.logits as Float32Array).subarray(sample * vocab, (sample + 1) * vocab);
  const disputed = [...new Set(logits)].filter(logit => logit >= low && logit < high && logit > MASKED_LOGIT);
  if (disputed.length === 0) return 0;
  const distance = limitDistance(inputs, sample, logits);
  return Math.max(...disputed.map(logit => distance(logit) / massError(vocab)));
}

/** For a logit: how far it is from the nearest of the limits that are on, relative. */
function limitDistance(inputs: CaseInputs, sample: number, logits: Float32Array): (logit: number) => number {
  const row = inputs.samples![sample * SAMPLE_WORDS + Sample.row]!;
  const rows = inputs.rows as Uint32Array;
  const field = (name: keyof typeof Row) => rowFloat(rows, row, name);
  const [temperature, topP, minP] = [field('temperature'), field('topP'), field('minP')];
  if (temperature === 0) return () => Infinity;
  const sorted = Float64Array.from(logits).sort().reverse();
  const weight = (logit: number) => Math.exp((logit - sorted[0]!) / temperature);
  const topK = rows[row * ROW_WORDS + Row.topK]!;
  const kth = topK > 0 && topK < sorted.length ? sorted[topK - 1]! : -Infinity;
  const candidates = sorted.filter(logit => logit >= kth && weight(logit) >= minP);
  const total = candidates.reduce((sum, logit) => sum + weight(logit), 0);
  return logit => {
    const above = candidates.reduce((sum, other) => sum + (other > logit ? weight(other) : 0), 0) / total;
    const fromTopP = topP < 1 ? Math.abs(above - topP) : Infinity;
    const fromMinP = minP > 0 ? Math.abs(weight(logit) - minP) / minP : Infinity;
    return Math.min(fromTopP, fromMinP);
  };
}
