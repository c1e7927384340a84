/** The ops that end a step, and advanceRows behind them: argmax, sample, logProbs. */
import {
  BATCH_WORDS,
  NO_THRESHOLD,
  NONE,
  ROW_WORDS,
  Row,
  SAMPLE_FINITE,
  SAMPLE_LIVE,
  SAMPLE_WORDS,
  Sample,
  SEQUENCE_WORDS,
} from '@quire/core/contract';
import type { ProgramBuilder } from '@quire/core/program';
import { logProbIdsCheck, logProbsCheck } from '../cases/log-probs.ts';
import { exact } from '../checks.ts';
import { group } from '../define.ts';
import type { Random } from '../random.ts';
import { logitRows } from '../sampler-data.ts';
import { bitsOf, packRecords, type Step, sampleRecords, sequenceRecords } from '../scenario.ts';
import { geometries, stepLimits, stepVariants } from '../step-mixes.ts';
import type { CaseGroup, OutputCheck } from '../types.ts';

const RING_SLOTS = 3;
const TOP_N = 3;
const changed = exact('integers, and all other words as they were');
type Sampler = 'argmax' | 'sample' | 'logProbs';

interface Shape {
  sampler: Sampler;
  geometry: (typeof geometries)[number];
  /** Of the logits: one slice of a kernel, or several. */
  vocab: number;
  quick: boolean;
}

export function advancedCases(): CaseGroup[] {
  const [small, middle] = geometries as [Shape['geometry'], Shape['geometry']];
  const shapes: Shape[] = [
    { sampler: 'argmax', geometry: small, vocab: 100, quick: true },
    { sampler: 'argmax', geometry: middle, vocab: 9000, quick: false },
    { sampler: 'sample', geometry: small, vocab: 100, quick: true },
    { sampler: 'sample', geometry: middle, vocab: 9000, quick: false },
    { sampler: 'logProbs', geometry: small, vocab: 100, quick: true },
  ];
  return shapes.flatMap(advanced);
}

function advanced({ sampler, geometry, vocab, quick }: Shape): CaseGroup[] {
  const { maxRows, maxModelLen } = geometry;
  return group({
    name: `${sampler}, advanceRows rows=${maxRows} vocab=${vocab}`,
    quick,
    maxSizes: stepLimits,
    build(builder) {
      builder.external('batch', 'u32', [1 + maxRows, BATCH_WORDS]);
      builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('sampled', 'u32', ['samples', 2]);
      builder.external('rows', 'u32', [maxRows, ROW_WORDS]);
      builder.external('tokenIds', 'u32', [maxRows, maxModelLen]);
      builder.external('ring', 'u32', [RING_SLOTS, maxRows, 2]);
      builder.external('logits', 'f32', ['samples', vocab]);
      addSampler(builder, sampler);
      const state = { batch: 'batch', sequences: 'sequences', rows: 'rows', tokenIds: 'tokenIds', ring: 'ring' };
      builder.add({ op: 'advanceRows', ...state, samples: 'samples', sampled: 'sampled' });
    },
    checks: { rows: changed, tokenIds: changed, ring: changed, ...samplerChecks(sampler, vocab) },
    variants: stepVariants(
      { ...geometry, vocab },
      (step, sizes, random) => {
        setSamplerRows(random, step, maxRows);
        const samples = sampleRecords(step, geometry, sizes.samples);
        const isPadding = (i: number) => samples[i * SAMPLE_WORDS + Sample.row] === NONE;
        return {
          batch: step.batch,
          rows: step.rows,
          tokenIds: step.tokenIds,
          sequences: sequenceRecords(step, sizes.sequences),
          samples,
          ring: Uint32Array.from({ length: RING_SLOTS * maxRows * 2 }, () => random.word()),
          // Far apart, so that no two tokens are close to each other.
          logits: logitRows(random, sizes.samples, vocab, 'peaked'),
          ...(sampler === 'sample' && { thresholds: new Float32Array(sizes.samples).fill(NO_THRESHOLD) }),
          ...(sampler === 'logProbs' && {
            sampled: packRecords(sizes.samples, 2, i =>
              isPadding(i) ? [NONE, 0] : [random.integer(0, vocab), SAMPLE_LIVE | SAMPLE_FINITE],
            ),
          }),
        };
      },
      { trivialWhenSpent: 'no row moves' },
    ),
  });
}

function addSampler(builder: ProgramBuilder, sampler: Sampler): void {
  const on = { logits: 'logits', samples: 'samples', sampled: 'sampled' };
  if (sampler === 'argmax') builder.add({ op: 'argmax', ...on });
  if (sampler === 'sample') {
    builder.external('thresholds', 'f32', ['samples']);
    builder.add({ op: 'sample', ...on, rows: 'rows', thresholds: 'thresholds' });
  }
  if (sampler === 'logProbs') {
    builder.external('logprobs', 'f32', ['samples', 1 + TOP_N]);
    builder.external('logprobIds', 'u32', ['samples', 2 + TOP_N]);
    builder.add({ op: 'logProbs', ...on, logprobs: 'logprobs', logprobIds: 'logprobIds', topN: TOP_N });
  }
}

function samplerChecks(sampler: Sampler, vocab: number): Record<string, OutputCheck> {
  if (sampler !== 'logProbs') return { sampled: exact('the best token is far ahead of the next one') };
  return { logprobs: logProbsCheck(vocab, 1 + TOP_N), logprobIds: logProbIdsCheck };
}

function setSamplerRows(random: Random, { rows }: Step, maxRows: number): void {
  for (let row = 0; row < maxRows; row++) {
    rows[row * ROW_WORDS + Row.temperature] = bitsOf(random.pick([0, 0.7, 1]));
    rows[row * ROW_WORDS + Row.seedLow] = random.word();
    rows[row * ROW_WORDS + Row.seedHigh] = random.word();
  }
}
