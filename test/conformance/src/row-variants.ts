import type { StepSizes } from '@quire/core/contract';
import type { Pattern, Random } from './random.ts';
import type { CaseInputs, CaseVariant } from './types.ts';

/** Variants over numbers of tokens and kinds of data: the i-th number meets the i-th kind. */
export function rowVariants(
  tokens: readonly number[],
  kinds: readonly Pattern[],
  fill: (random: Random, tokens: number, pattern: Pattern, sizes: StepSizes) => CaseInputs,
): CaseVariant[] {
  const count = Math.max(tokens.length, kinds.length);
  return Array.from({ length: count }, (_, i) => {
    const pattern = kinds[i % kinds.length]!;
    const rows = tokens[i % tokens.length]!;
    const variant: CaseVariant = {
      name: `tokens=${rows} ${pattern}`,
      sizes: { tokens: rows },
      fill: (random, sizes) => fill(random, rows, pattern, sizes),
    };
    return pattern === 'zeros' ? { ...variant, trivial: 'zeros give a constant' } : variant;
  });
}
