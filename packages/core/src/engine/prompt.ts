import { InvalidRequestError } from '../errors.ts';
import { show } from '../names.ts';
import { checkPrompt, longestPrompt, type SamplingLimits } from '../sampling/resolve.ts';
import type { Tokenizer } from '../tokenizer/types.ts';

/** Text, or token ids, or both (then the ids count, and the text is only handed back with the output). */
export type PromptInput =
  | string
  | readonly number[]
  | Uint32Array
  | { readonly prompt?: string | null; readonly promptTokenIds: ArrayLike<number> }
  | { readonly prompt: string };

export interface Prompt {
  readonly text: string | null;
  readonly tokenIds: readonly number[];
}

/** Texts that are to be truncated are tokenised whole, up to this many contexts. */
export const MAX_TRUNCATED_CONTEXTS = 16;

/**
 * Keeps the last `keep` tokens of the prompt, or all (null). Throws InvalidRequestError when the prompt is malformed, empty, too
 * long, or has ids outside the vocabulary.
 */
export function resolvePrompt(
  input: PromptInput,
  tokenizer: Tokenizer | null,
  limits: SamplingLimits,
  keep: number | null,
): Prompt {
  const { maxModelLen } = limits;
  const raw = read(input, tokenizer, keep === null ? longestPrompt(limits) : MAX_TRUNCATED_CONTEXTS * maxModelLen);
  const all = Array.from(raw.tokenIds);
  const tokenIds = keep === null ? all : all.slice(-keep);
  checkPrompt(tokenIds, limits);
  return { text: raw.text, tokenIds };
}

interface RawPrompt {
  text: string | null;
  tokenIds: ArrayLike<number>;
}

function read(input: PromptInput, tokenizer: Tokenizer | null, maxTokens: number): RawPrompt {
  if (typeof input === 'string') return { text: input, tokenIds: encode(input, tokenizer, maxTokens) };
  if (isIds(input)) return { text: null, tokenIds: input };
  if (typeof input === 'object' && input !== null) {
    const { prompt = null, promptTokenIds } = input as { prompt?: unknown; promptTokenIds?: unknown };
    const text = typeof prompt === 'string' ? prompt : null;
    if (isIds(promptTokenIds)) return { text, tokenIds: promptTokenIds };
    if (text !== null && promptTokenIds === undefined) return { text, tokenIds: encode(text, tokenizer, maxTokens) };
  }
  throw new InvalidRequestError(
    `prompt must be a string, a list of token ids, or an object with prompt or promptTokenIds, got ${show(input)}.`,
    'prompt',
  );
}

function isIds(value: unknown): value is ArrayLike<number> {
  return Array.isArray(value) || value instanceof Uint32Array || value instanceof Int32Array;
}

function encode(text: string, tokenizer: Tokenizer | null, maxTokens: number): number[] {
  if (tokenizer === null) {
    throw new InvalidRequestError('This engine has no tokenizer: give the prompt as token ids.', 'prompt');
  }
  return tokenizer.encode(text, { maxTokens });
}
