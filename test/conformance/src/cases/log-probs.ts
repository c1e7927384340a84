import { NONE, SAMPLE_FINITE, SAMPLE_LIVE, SAMPLE_WORDS } from '@quire/core/contract';
import { exact, u, within } from '../checks.ts';
import { group } from '../define.ts';
import { type LogitKind, logitKinds, logitRows, samples } from '../sampler-data.ts';
import { packRecords } from '../scenario.ts';
import type { CaseGroup, CaseVariant } from '../types.ts';

export const logProbIdsCheck = exact('order and rank compare the logits themselves; ties go to the lowest id');

export function logProbsCases(): CaseGroup[] {
  const all: readonly LogitKind[] = [...logitKinds, 'equal'];
  return [
    ...[0, 1, 5, 20].flatMap((topN, i) => logProbs(40, topN, 6, all, i !== 1)),
    ...[0, 3, 20].flatMap((topN, i) => logProbs(131, topN, 5, all, i === 1)),
    ...logProbs(7, 7, 4, all, true),
    ...logProbs(2048, 20, 3, ['spread', 'ties', 'flat'], false),
    ...logProbs(3000, 2, 4, ['spread', 'masked'], false),
    ...logProbs(50_272, 5, 2, ['spread', 'ties'], true),
    ...logProbs(151_936, 1, 1, ['spread', 'peaked'], false),
  ];
}

function logProbs(
  vocab: number,
  topN: number,
  maxSamples: number,
  kinds: readonly LogitKind[],
  quick: boolean,
): CaseGroup[] {
  return group({
    name: `vocab=${vocab} topN=${topN}`,
    quick,
    maxSizes: { samples: maxSamples },
    build(builder) {
      builder.external('logits', 'f32', ['samples', vocab]);
      builder.external('samples', 'u32', ['samples', SAMPLE_WORDS]);
      builder.external('sampled', 'u32', ['samples', 2]);
      builder.external('logprobs', 'f32', ['samples', 1 + topN]);
      builder.external('logprobIds', 'u32', ['samples', 2 + topN]);
      builder.add({
        op: 'logProbs',
        logits: 'logits',
        samples: 'samples',
        sampled: 'sampled',
        logprobs: 'logprobs',
        logprobIds: 'logprobIds',
        topN,
      });
    },
    checks: { logprobs: logProbsCheck(vocab, 1 + topN), logprobIds: logProbIdsCheck },
    variants: kinds.flatMap((kind, k) =>
      [maxSamples, 1].map(
        (count): CaseVariant => ({
          name: `${kind} samples=${count}`,
          sizes: { samples: count },
          ...((kind === 'equal' || count === 1) && { trivial: 'one value' }),
          fill(random) {
            // Some rows are padding; never the first.
            const rowOf = Array.from({ length: count }, (_, i) => (i > 0 && random.integer(0, 5) === 0 ? NONE : i));
            const chosen = (i: number) => (i === 0 ? random.pick([0, vocab - 1]) : random.integer(0, vocab));
            return {
              logits: logitRows(random, count, vocab, kind),
              samples: samples(rowOf.map(row => ({ row, position: row === NONE ? 0 : k + 1 }))),
              sampled: packRecords(count, 2, i =>
                rowOf[i] === NONE ? [NONE, 0] : [chosen(i), SAMPLE_LIVE | SAMPLE_FINITE],
              ),
            };
          },
        }),
      ),
    ),
    guarded: vocab < 1000,
  });
}

export function logProbsCheck(vocab: number, width: number) {
  const reason =
    'the logarithm of an f32 sum of exponentials: 5e-6 for exp (3 + 2|x| units, weighted) and the sum in any order, and 4u of ' +
    'the logits that are subtracted';
  return within(reason, ({ inputs, expected }) => {
    const logits = inputs.logits as Float32Array;
    const largest = Array.from({ length: expected.length / width }, (_, row) =>
      logits.subarray(row * vocab, (row + 1) * vocab).reduce((max, logit) => Math.max(max, logit), -Infinity),
    );
    return i => 5e-6 + 4 * u * (Math.abs(largest[Math.floor(i / width)]!) + Math.abs(expected[i]!));
  });
}
