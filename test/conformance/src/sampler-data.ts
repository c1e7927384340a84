/** Logits, rows and sample records for the cases of the sampler's ops. */
import { MASKED_LOGIT, NONE, ROW_WORDS, Row, SAMPLE_WORDS } from '@quire/core/contract';
import type { Random } from './random.ts';
import { bitsOf, packRecords } from './scenario.ts';

export type LogitKind = 'spread' | 'flat' | 'peaked' | 'ties' | 'masked' | 'equal';
export const logitKinds: readonly LogitKind[] = ['spread', 'ties', 'masked', 'peaked', 'flat'];

const draw: Readonly<Record<LogitKind, (random: Random) => number>> = {
  spread: random => random.normal() * 3,
  flat: random => random.normal() * 0.01,
  peaked: random => random.normal() * 12,
  ties: random => random.integer(-8, 9) / 4,
  masked: random => (random.integer(0, 3) > 0 ? MASKED_LOGIT : random.normal() * 3),
  equal: () => 1.25,
};

/** samples x vocab logits. At least one of each row is not masked. */
export function logitRows(random: Random, samples: number, vocab: number, kind: LogitKind): Float32Array {
  const logits = Float32Array.from({ length: samples * vocab }, () => draw[kind](random));
  if (kind === 'masked')
    for (let row = 0; row < samples; row++) logits[row * vocab + random.integer(0, vocab)] = random.normal();
  return logits;
}

/** What a sampler row may set; the rest is off. */
export interface SamplerRow {
  promptTokens?: number;
  numTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  seedLow?: number;
  seedHigh?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  repetitionPenalty?: number;
  minTokensUntil?: number;
  numStopIds?: number;
  numBiases?: number;
  masked?: number;
}
const floatFields: ReadonlySet<string> = new Set([
  'temperature',
  'topP',
  'minP',
  'presencePenalty',
  'frequencyPenalty',
  'repetitionPenalty',
]);
const off: Required<SamplerRow> = {
  promptTokens: 1,
  numTokens: 1,
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  seedLow: 0,
  seedHigh: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  minTokensUntil: 0,
  numStopIds: 0,
  numBiases: 0,
  masked: 0,
};

export function samplerRows(rows: readonly SamplerRow[]): Uint32Array {
  const words = new Uint32Array(rows.length * ROW_WORDS);
  rows.forEach((row, i) => {
    for (const [field, value] of Object.entries({ ...off, ...row }) as [keyof SamplerRow, number][]) {
      words[i * ROW_WORDS + Row[field]] = floatFields.has(field) ? bitsOf(value) : value;
    }
  });
  return words;
}

export interface SampleSpec {
  token?: number;
  /** NONE for padding and spent rows. */
  row: number;
  position: number;
  target?: number;
}

export function samples(specs: readonly SampleSpec[]): Uint32Array {
  return packRecords(specs.length, SAMPLE_WORDS, i => {
    const { token = 0, row, position, target = NONE } = specs[i]!;
    return [token, row, position, target];
  });
}

/** Reads an f32 out of a row. */
export function rowFloat(rows: Uint32Array, row: number, field: keyof typeof Row): number {
  return new Float32Array(rows.buffer, rows.byteOffset + 4 * (row * ROW_WORDS + Row[field]), 1)[0]!;
}

/** What may be wrong with a logit. */
export type Damage = 'NaN' | 'infinite' | 'minus infinite';
const bad: Readonly<Record<Damage, number>> = { NaN: Number.NaN, infinite: Infinity, 'minus infinite': -Infinity };

/** Puts a value that is not finite into every second row, from the first on. */
export function damage(random: Random, logits: Float32Array, vocab: number, kind: Damage): void {
  for (let start = 0; start < logits.length; start += 2 * vocab) logits[start + random.integer(0, vocab)] = bad[kind];
}
