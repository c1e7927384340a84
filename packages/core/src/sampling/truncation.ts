import { checkInteger, fail, readParams } from './checks.ts';
import { take } from './given.ts';
import { longestPrompt, type SamplingLimits } from './resolve.ts';
import type { SamplingParams } from './sampling-params.ts';

/**
 * The most tokens of a prompt that are kept, its last ones, or null when it is not truncated. -1 leaves room for maxTokens, or
 * for one token where there is no maxTokens. Throws InvalidRequestError.
 */
export function truncatedLength(
  input: SamplingParams,
  limits: Pick<SamplingLimits, 'maxModelLen' | 'pooling'>,
): number | null {
  const given = readParams(input);
  const longest = longestPrompt(limits);
  const asked = take(given, 'truncatePromptTokens', null, value =>
    value === null ? null : checkLength(value, longest),
  );
  if (asked !== -1) return asked;
  if ((limits.pooling ?? null) !== null) return longest;
  const maxTokens = given.get('maxTokens');
  const reserved = Number.isInteger(maxTokens) ? (maxTokens as number) : 1;
  return Math.min(longest, Math.max(1, limits.maxModelLen - reserved));
}

function checkLength(value: unknown, longest: number): number {
  const length = checkInteger('truncatePromptTokens', value, '-1, or at least 1', k => k === -1 || k >= 1);
  if (length <= longest) return length;
  return fail('truncatePromptTokens', `must be at most ${longest}, the longest prompt, got ${length}`);
}
