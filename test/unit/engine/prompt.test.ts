import { InvalidRequestError, type SamplingParams } from '@quire/core';
import { describe, expect, test } from 'vitest';
import { resolvePrompt } from '../../../packages/core/src/engine/prompt.ts';
import { truncatedLength } from '../../../packages/core/src/sampling/truncation.ts';
import { characterTokenizer } from '../../server/fake-engine.ts';

const limits = { maxModelLen: 20, vocabSize: 65_536, maxLogprobs: 5, maxBiasWords: 8 };

function refusal(run: () => unknown): InvalidRequestError {
  try {
    run();
  } catch (error) {
    if (error instanceof InvalidRequestError) return error;
    throw error;
  }
  throw new Error('accepted');
}

describe('truncation of prompts', () => {
  test.each([
    [{}, null],
    [{ truncatePromptTokens: null }, null],
    [{ truncate_prompt_tokens: 5 }, 5],
    [{ truncatePromptTokens: 19 }, 19],
    [{ truncatePromptTokens: -1 }, 19],
    [{ truncatePromptTokens: -1, maxTokens: null }, 19],
    [{ truncatePromptTokens: -1, max_tokens: 8 }, 12],
    [{ truncatePromptTokens: -1, maxTokens: 500 }, 1],
  ])('%o keeps %s tokens', (params, kept) => {
    expect(truncatedLength(params as SamplingParams, limits)).toBe(kept);
  });

  test.each([0, -2, 20, 1.5, '5', true])('truncate_prompt_tokens = %o is refused', value => {
    const error = refusal(() => truncatedLength({ truncatePromptTokens: value as number }, limits));
    expect(error.param).toBe('truncate_prompt_tokens');
    expect(error.message).toContain('truncate_prompt_tokens must be');
  });

  test('the last tokens of text and of ids are kept', () => {
    const text = 'abcdefghijklmnopqrstuvwxyz';
    const ids = characterTokenizer.encode('xyz');
    expect(resolvePrompt(text, characterTokenizer, limits, 3)).toEqual({ text, tokenIds: ids });
    expect(resolvePrompt([1, 2, 3, 4], null, limits, 2).tokenIds).toEqual([3, 4]);
    expect(resolvePrompt([1, 2], null, limits, 19).tokenIds).toEqual([1, 2]);
    expect(refusal(() => resolvePrompt(text, characterTokenizer, limits, null)).param).toBe('prompt');
    expect(refusal(() => resolvePrompt('a'.repeat(321), characterTokenizer, limits, 3)).param).toBe('prompt');
  });
});
