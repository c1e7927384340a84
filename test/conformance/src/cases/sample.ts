import { NO_THRESHOLD, NONE, ROW_WORDS, Row, SAMPLE_WORDS, Sample } from '@quire/core/contract';
import { u } from '../checks.ts';
import { group } from '../define.ts';
import { gumbel } from '../noise.ts';
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
import type { CaseGroup, CaseInputs, CaseVariant, CheckArguments, OutputCheck } from '../types.ts';

interface Scene {
  name: string;
  temperature: (random: Random) => number;
  /** Rank of the threshold among the logits of a row; 0 leaves all. */
  keep: number;
  damage?: Damage;
}

const scenes: readonly Scene[] = [
  { name: 'temperature 1', temperature: () => 1, keep: 0 },
  { name: 'filtered', temperature: random => random.pick([0.5, 0.8, 1.5]), keep: 12 },
  { name: 'one survivor', temperature: () => 1.2, keep: 1 },
  { name: 'greedy', temperature: () => 0, keep: 0 },
  { name: 'greedy and not', temperature: random => random.pick([0, 1]), keep: 5 },
  { name: 'cold', temperature: () => 0.01, keep: 0 },
  { name: 'hot', temperature: () => 10, keep: 0 },
];
const damaged: readonly Scene[] = [
  { name: 'NaN', temperature: () => 1, keep: 0, damage: 'NaN' },
  { name: 'infinite', temperature: random => random.pick([0, 1]), keep: 0, damage: 'infinite' },
  { name: 'minus infinite', temperature: () => 0.7, keep: 0, damage: 'minus infinite' },
];

export function sampleCases(): CaseGroup[] {
  return [
    ...draws(40, 8, logitKinds, [...scenes, ...damaged], true),
    ...draws(131, 5, ['spread', 'ties', 'masked'], [...scenes, ...damaged], true),
    ...draws(2048, 4, ['spread', 'equal'], [...scenes, ...damaged], false),
    ...draws(50_272, 2, ['spread'], [scenes[1]!, damaged[0]!], true),
    ...draws(151_936, 1, ['spread'], scenes.slice(0, 4), false),
  ];
}

function draws(
  vocab: number,
  maxSamples: number,
  kinds: readonly LogitKind[],
  list: readonly Scene[],
  quick: boolean,
): CaseGroup[] {
  const maxRows = maxSamples + 2;
  return group({
    name: `vocab=${vocab}`,
    quick,
    maxSizes: { samples: maxSamples },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('thresholds', 'f32', ['samples']);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
      builder.external('sampled', 'u32', ['samples', 2]);
      builder.add({
        op: 'sample',
        logits: 'logits',
        thresholds: 'thresholds',
        samples: 'samples',
        rows: 'rows',
        sampled: 'sampled',
      });
    },
    checks: { sampled: sampledCheck(vocab, true) },
    variants: list.flatMap((scene, s) =>
      kinds.map((kind, k): CaseVariant => {
        const count = 1 + ((s + k) % maxSamples);
        return {
          name: `${scene.name} ${kind} samples=${count}`,
          sizes: { samples: count },
          trivial: 'ids may be equal',
          fill: random => sampleData(random, scene, { count, vocab, maxRows, kind }),
        };
      }),
    ),
    guarded: vocab < 1000,
  });
}

interface DataShape {
  count: number;
  vocab: number;
  maxRows: number;
  kind: LogitKind;
}

function sampleData(random: Random, scene: Scene, { count, vocab, maxRows, kind }: DataShape): CaseInputs {
  const rows = Array.from(
    { length: maxRows },
    (): SamplerRow => ({
      temperature: scene.temperature(random),
      seedLow: random.word(),
      seedHigh: random.word(),
    }),
  );
  const specs = Array.from({ length: count }, (_, i): SampleSpec => {
    const role = i === 0 ? 'sampled' : random.pick(['sampled', 'sampled', 'sampled', 'known', 'padding']);
    if (role === 'padding') return { row: NONE, position: 0 };
    const spec = { row: i % maxRows, position: random.integer(1, 5000) };
    return role === 'known' ? { ...spec, target: random.integer(0, vocab) } : spec;
  });
  const logits = logitRows(random, count, vocab, kind);
  const thresholds = Float32Array.from({ length: count }, (_, i) =>
    thresholdOf(logits.subarray(i * vocab, (i + 1) * vocab), scene.keep),
  );
  if (scene.damage !== undefined) damage(random, logits, vocab, scene.damage);
  return { logits, thresholds, samples: samples(specs), rows: samplerRows(rows) };
}

function thresholdOf(logits: Float32Array, keep: number): number {
  return keep === 0 ? NO_THRESHOLD : logits.slice().sort().reverse()[keep - 1]!;
}

/** Pairs (id, flags): flags are exact, ids too unless two candidates were closer than f32 noise can tell. */
export function sampledCheck(vocab: number, noise: boolean): OutputCheck {
  return {
    reason:
      'flags are exact; ids are equal, unless the scores of the two candidates are closer than the error of f32 logarithms ' +
      '(2^-21 absolute near 1); rows that are not finite may have any id of the vocabulary',
    compare(args) {
      for (let sample = 0; sample < args.expected.length / 2; sample++) {
        const message = wrongSample(args, sample, vocab, noise);
        if (message === undefined) continue;
        const index = 2 * sample + Number(message.startsWith('flags'));
        const mismatch = { index, expected: args.expected[index]!, actual: args.actual[index]!, message };
        return { worst: Infinity, mismatch };
      }
      return { worst: 0 };
    },
  };
}

function wrongSample(
  { inputs, expected, actual }: CheckArguments,
  sample: number,
  vocab: number,
  noise: boolean,
): string | undefined {
  const [id, flags] = [actual[2 * sample]!, actual[2 * sample + 1]!];
  const record = inputs.samples!.subarray(sample * SAMPLE_WORDS, (sample + 1) * SAMPLE_WORDS);
  if (flags !== expected[2 * sample + 1]) return 'flags differ';
  if (record[Sample.row] === NONE) return id === NONE ? undefined : 'padding has the id NONE';
  if (id >= vocab) return 'the id is beyond the vocabulary';
  const logits = (inputs.logits as Float32Array).subarray(sample * vocab, (sample + 1) * vocab);
  if (id === expected[2 * sample] || !logits.every(Number.isFinite)) return undefined;
  if (!noise || record[Sample.target] !== NONE) return 'the id differs';
  const gap = candidateGap(inputs, sample, logits, expected[2 * sample]!, id);
  return gap <= 1
    ? undefined
    : `the id differs, and its score is ${gap.toExponential(1)} times the tolerance below the best`;
}

/** The gap between the scores of two ids, over the error of f32. Infinite where noise does not decide. */
function candidateGap(
  inputs: CaseInputs,
  sample: number,
  logits: Float32Array,
  expected: number,
  actual: number,
): number {
  const [, row, position] = inputs.samples!.subarray(
    sample * SAMPLE_WORDS,
    (sample + 1) * SAMPLE_WORDS,
  ) as unknown as number[];
  const rows = inputs.rows as Uint32Array;
  const temperature = rowFloat(rows, row!, 'temperature');
  if (temperature === 0 || !(logits[actual]! >= inputs.thresholds![sample]!)) return Infinity;
  const at = row! * ROW_WORDS;
  const seed = [rows[at + Row.seedLow]!, rows[at + Row.seedHigh]!] as const;
  const [first, second] = [expected, actual].map(id => {
    const { value, error } = gumbel(seed, position!, id);
    const scaled = logits[id]! / temperature;
    return { score: scaled + value, error: error + 4 * u * Math.abs(scaled) };
  });
  return Math.abs(first!.score - second!.score) / (first!.error + second!.error);
}
