/** The steps that the cases of the row-state ops run: kinds of batches on several geometries. */
import type { StepSizes } from '@quire/core/contract';
import { Random, seedOf } from './random.ts';
import { layOut, mixSequences, type SequenceMix, type Step, type StepGeometry } from './scenario.ts';
import type { CaseInputs, CaseVariant } from './types.ts';

interface StepMix extends SequenceMix {
  name: string;
  padTokens?: number;
  padSequences?: number;
  padSamples?: number;
}

const mixes: readonly StepMix[] = [
  { name: 'one decode', decode: 1, prefill: 0, maxQuery: 1 },
  { name: 'one prefill', decode: 0, prefill: 1, maxQuery: 12 },
  { name: 'decode', decode: 7, prefill: 0, maxQuery: 1 },
  { name: 'decode, padded', decode: 5, prefill: 0, maxQuery: 1, padTokens: 3, padSequences: 2, padSamples: 3 },
  { name: 'prefill', decode: 0, prefill: 4, maxQuery: 15 },
  { name: 'prompt samples', decode: 1, prefill: 3, maxQuery: 12, promptSamples: true },
  { name: 'mixed', decode: 3, prefill: 3, maxQuery: 15 },
  { name: 'mixed, padded', decode: 3, prefill: 2, maxQuery: 15, padTokens: 7, padSequences: 1, padSamples: 2 },
  { name: 'mixed, half spent', decode: 4, prefill: 3, maxQuery: 9, spent: 4 },
  { name: 'all spent', decode: 3, prefill: 2, maxQuery: 9, spent: 5, padSequences: 1, padSamples: 1 },
  { name: 'prompt samples, spent', decode: 3, prefill: 3, maxQuery: 7, promptSamples: true, spent: 3, padSamples: 4 },
];

export const geometries: readonly (StepGeometry & { quick: boolean })[] = [
  { maxRows: 8, maxModelLen: 40, blockSize: 16, maxBlocks: 3, numBlocks: 30, vocab: 100, quick: true },
  { maxRows: 11, maxModelLen: 64, blockSize: 4, maxBlocks: 16, numBlocks: 300, vocab: 50_272, quick: true },
  { maxRows: 64, maxModelLen: 513, blockSize: 32, maxBlocks: 17, numBlocks: 2000, vocab: 151_936, quick: false },
  { maxRows: 256, maxModelLen: 1024, blockSize: 16, maxBlocks: 64, numBlocks: 40_000, vocab: 128_256, quick: false },
];

/** Upper bounds of all mixes. */
export const stepLimits = { tokens: 96, sequences: 8, decodeSequences: 8, samples: 64, maxQueryTokens: 96 } as const;

export type StepFill = (step: Step, sizes: StepSizes, random: Random) => CaseInputs;
export interface StepVariantOptions {
  /** Why a step in which no sequence runs changes nothing. */
  trivialWhenSpent?: string;
  /** Only steps that sample. */
  sampling?: boolean;
}

/** Two draws of every mix. The sequences are drawn here, because the sizes of the step follow from them. */
export function stepVariants(geometry: StepGeometry, fill: StepFill, options: StepVariantOptions = {}): CaseVariant[] {
  return mixes.flatMap(mix => [0, 1].flatMap(round => stepVariant(geometry, mix, round, fill, options)));
}

function stepVariant(
  geometry: StepGeometry,
  mix: StepMix,
  round: number,
  fill: StepFill,
  { trivialWhenSpent, sampling }: StepVariantOptions,
): CaseVariant[] {
  const sequences = mixSequences(new Random(seedOf(`${mix.name} ${round} ${geometry.maxRows}`)), geometry, mix);
  const total = (field: 'queryLen' | 'sampleCount') => sequences.reduce((sum, sequence) => sum + sequence[field], 0);
  if (sampling && total('sampleCount') === 0) return [];
  const sizes = {
    tokens: total('queryLen') + (mix.padTokens ?? 0),
    sequences: sequences.length + (mix.padSequences ?? 0),
    decodeSequences: mix.decode,
    samples: total('sampleCount') + (mix.padSamples ?? 0),
    maxQueryTokens: Math.max(...sequences.map(sequence => sequence.queryLen)),
  };
  const spent = mix.spent === sequences.length && trivialWhenSpent !== undefined;
  return [
    {
      name: `${mix.name} ${round}`,
      sizes,
      ...(spent && { trivial: trivialWhenSpent }),
      fill: (random, full) => fill(layOut(random, geometry, sequences, random.integer(1, 9)), full, random),
    },
  ];
}
