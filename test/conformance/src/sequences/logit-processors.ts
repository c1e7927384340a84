/** Two or three of maskLogits, biasLogits and penalties behind each other, from the second on in place. */
import { NONE, ROW_WORDS, SAMPLE_WORDS, Sample } from '@quire/core/contract';
import type { ProgramBuilder } from '@quire/core/program';
import { u, within } from '../checks.ts';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import {
  type LogitKind,
  logitRows,
  rowFloat,
  type SamplerRow,
  type SampleSpec,
  samplerRows,
  samples,
} from '../sampler-data.ts';
import { bitsOf } from '../scenario.ts';
import type { CaseGroup, CaseInputs } from '../types.ts';

const processors = ['maskLogits', 'biasLogits', 'penalties'] as const;
type Processor = (typeof processors)[number];
interface Shape {
  ops: readonly Processor[];
  vocab: number;
  maxSamples: number;
  inPlace: boolean;
  quick: boolean;
}
const MAX_MODEL_LEN = 48;
const BIAS_WORDS = 9;
const MAX_BIAS = 20;
const kinds: readonly LogitKind[] = ['spread', 'ties', 'masked', 'peaked', 'flat'];

export function logitProcessorCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { ops: ['maskLogits', 'biasLogits'], vocab: 40, maxSamples: 6, inPlace: false, quick: true },
    { ops: ['maskLogits', 'penalties'], vocab: 97, maxSamples: 5, inPlace: true, quick: true },
    { ops: ['biasLogits', 'penalties'], vocab: 97, maxSamples: 5, inPlace: true, quick: false },
    { ops: processors, vocab: 40, maxSamples: 6, inPlace: true, quick: true },
    // More than one block of a row.
    { ops: processors, vocab: 9000, maxSamples: 2, inPlace: true, quick: true },
    { ops: processors, vocab: 131, maxSamples: 5, inPlace: false, quick: true },
    { ops: ['biasLogits', 'penalties'], vocab: 3000, maxSamples: 3, inPlace: false, quick: false },
    { ops: processors, vocab: 50_272, maxSamples: 2, inPlace: true, quick: false },
  ];
  return shapes.flatMap(processed);
}

function processed(shape: Shape): CaseGroup[] {
  const { ops, vocab, maxSamples, inPlace, quick } = shape;
  return group({
    name: `${ops.join(', ')} vocab=${vocab}${inPlace ? ' in place' : ''}`,
    quick,
    maxSizes: { samples: maxSamples },
    build: builder => addProcessors(builder, shape),
    checks: { [inPlace ? 'logits' : 'out']: check(vocab) },
    variants: (vocab > 10_000 ? kinds.slice(0, 1) : kinds).flatMap((kind, k) =>
      [maxSamples, 1 + (k % maxSamples)].map((count, round) => ({
        name: `${kind} ${round} samples=${count}`,
        sizes: { samples: count },
        ...(kind === 'masked' && { trivial: 'what changes may be masked already' }),
        fill: (random: Random) => processorData(random, shape, count, kind),
      })),
    ),
  });
}

function addProcessors(builder: ProgramBuilder, { ops, vocab, maxSamples, inPlace }: Shape): void {
  const maxRows = maxSamples + 2;
  builder.external('logits', 'f32', ['samples', vocab]);
  builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
  builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
  if (!inPlace) builder.external('out', 'f32', ['samples', vocab]);
  const out = inPlace ? 'logits' : 'out';
  ops.forEach((op, i) => {
    const on = { logits: i === 0 ? 'logits' : out, samples: 'samples', rows: 'rows', out };
    if (op === 'maskLogits') {
      builder.external('masks', 'u32', [maxRows, Math.ceil(vocab / 32)]);
      builder.add({ op, ...on, masks: 'masks' });
    }
    if (op === 'biasLogits') {
      builder.external('biases', 'u32', [maxRows, BIAS_WORDS]);
      builder.add({ op, ...on, biases: 'biases' });
    }
    if (op === 'penalties') {
      builder.external('tokenIds', 'u32', [maxRows, MAX_MODEL_LEN]);
      builder.add({ op, ...on, tokenIds: 'tokenIds' });
    }
  });
}

/** The first sample is sampled with a mask; among the others are rows without one, known tokens and padding. */
function processorData(random: Random, { ops, vocab, maxSamples }: Shape, count: number, kind: LogitKind): CaseInputs {
  const maxRows = maxSamples + 2;
  const biases = Uint32Array.from({ length: maxRows * BIAS_WORDS }, () => random.word());
  const rows = Array.from({ length: maxRows }, (_, row): SamplerRow & { numTokens: number } => {
    const numTokens = random.integer(2, MAX_MODEL_LEN);
    const ids = random.distinct(5, 0, vocab);
    biases.set(
      ids.flatMap((id, i) => (i < 1 ? [id] : [id, bitsOf((2 * random.uniform() - 1) * MAX_BIAS)])),
      row * BIAS_WORDS,
    );
    return {
      numTokens,
      promptTokens: random.integer(1, numTokens),
      masked: random.integer(0, 4) === 0 ? 0 : 1,
      numStopIds: 1,
      numBiases: 4,
      minTokensUntil: numTokens + random.integer(0, 2),
      repetitionPenalty: random.pick([1, 1.3, 0.8]),
      frequencyPenalty: random.pick([0, 0.5, -0.25]),
      presencePenalty: random.pick([0, 1.5]),
    };
  });
  const specs = random.distinct(count, 0, maxRows).map((row, i): SampleSpec => {
    const role = i === 0 ? 'sampled' : random.pick(['sampled', 'sampled', 'known', 'padding']);
    if (i === 0) rows[row]!.masked = 1;
    if (role === 'padding') return { row: NONE, position: 0 };
    const position = rows[row]!.numTokens;
    return role === 'known' ? { row, position: position - 1, target: random.integer(0, vocab) } : { row, position };
  });
  const tokenIds = Uint32Array.from({ length: maxRows * MAX_MODEL_LEN }, () => random.integer(0, Math.min(vocab, 30)));
  return {
    logits: logitRows(random, count, vocab, kind),
    samples: samples(specs),
    rows: samplerRows(rows),
    ...(ops.includes('maskLogits') && {
      masks: Uint32Array.from({ length: maxRows * Math.ceil(vocab / 32) }, () => random.word()),
    }),
    ...(ops.includes('biasLogits') && { biases }),
    ...(ops.includes('penalties') && { tokenIds }),
  };
}

function check(vocab: number) {
  const reason =
    'the sum of a bias, then a division (2.5 units), a product and two sums: 4u of each term; known tokens and padding are copied';
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
      const scaled = (Math.abs(inputs.logits![i]!) + MAX_BIAS) * Math.max(repetition, 1 / repetition);
      return 4 * u * (scaled + subtracted + Math.abs(expected[i]!));
    };
  });
}
