import { show } from '../names.ts';
import { checkInteger, fail } from './checks.ts';
import type { ThinkingBudget } from './sampling-params.ts';

/** Checks of parameters that name tokens. Ids are checked against the width of the logits, not the length of the tokenizer. */

/** vLLM's VLLM_MAX_NUM_BAD_WORDS, in token sequences. */
export const MAX_BAD_WORDS = 128;
export const MAX_LOGPROB_TOKEN_IDS = 128;

export function isTokenId(value: unknown, vocabSize: number): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < vocabSize;
}

function checkTokenIds(name: string, value: unknown, vocabSize: number): readonly number[] {
  if (!Array.isArray(value)) return fail(name, `must be a list of token ids, got ${show(value)}`);
  for (const id of value) {
    if (!isTokenId(id, vocabSize)) fail(name, `must contain only token ids in [0, ${vocabSize}), got ${show(id)}`);
  }
  return [...new Set(value as number[])];
}

export function checkStopTokenIds(value: unknown, vocabSize: number): ReadonlySet<number> {
  return new Set(value === null ? [] : checkTokenIds('stopTokenIds', value, vocabSize));
}

export function checkAllowedTokenIds(value: unknown, vocabSize: number): readonly number[] | null {
  if (value === null) return null;
  const ids = checkTokenIds('allowedTokenIds', value, vocabSize);
  return ids.length > 0 ? ids : fail('allowedTokenIds', 'must not be empty: no token could be sampled');
}

export function checkLogprobTokenIds(value: unknown, vocabSize: number): readonly number[] | null {
  if (value === null) return null;
  const ids = checkTokenIds('logprobTokenIds', value, vocabSize);
  if (ids.length <= MAX_LOGPROB_TOKEN_IDS) return ids.length > 0 ? ids : null;
  return fail('logprobTokenIds', `has ${ids.length} ids, at most ${MAX_LOGPROB_TOKEN_IDS} are allowed`);
}

export function checkLogitBias(value: unknown, vocabSize: number): readonly (readonly [number, number])[] {
  if (value === null) return [];
  if (typeof value !== 'object' || Array.isArray(value)) {
    return fail('logitBias', `must map token ids to numbers, got ${show(value)}`);
  }
  const entries = Object.entries(value as object);
  const strange = entries.filter(([key]) => !/^(0|[1-9]\d{0,9})$/.test(key) || !isTokenId(Number(key), vocabSize));
  if (strange.length > 0) {
    const listed = strange.slice(0, 8).map(([key]) => show(key));
    fail('logitBias', `must have token ids in [0, ${vocabSize}) as keys, got ${listed.join(', ')}`);
  }
  return entries.map(([key, bias]) => [Number(key), clampBias(bias, key)] as const);
}

function clampBias(bias: unknown, key: string): number {
  if (typeof bias !== 'number' || Number.isNaN(bias)) {
    return fail('logitBias', `must have numbers as values, got ${show(bias)} for token ${key}`);
  }
  return Math.max(-100, Math.min(100, bias));
}

/** Makes ids of a text, with nothing added around it. */
export type EncodeWord = (text: string) => readonly number[];

/**
 * Each word as token sequences: as it is, and after a space. The last token of a sequence is banned after the others. vLLM keeps
 * the second sequence only where it is as long as the first, which leaves most words allowed in the middle of a sentence; here it
 * is left out only where the space is a token of its own, for then the first covers it.
 */
export function checkBadWords(
  value: unknown,
  encode: EncodeWord | null,
  vocabSize: number,
): readonly (readonly number[])[] {
  if (value === null) return [];
  if (!Array.isArray(value)) return fail('badWords', `must be a list of strings, got ${show(value)}`);
  if (value.length === 0) return [];
  if (encode === null) return fail('badWords', 'need a tokenizer: this engine has none');
  if (value.length > MAX_BAD_WORDS) fail('badWords', `has ${value.length} words, at most ${MAX_BAD_WORDS} are allowed`);
  const sequences = value.flatMap(word => badSequences(word, encode));
  if (sequences.length > MAX_BAD_WORDS) {
    fail('badWords', `make ${sequences.length} token sequences, at most ${MAX_BAD_WORDS} are allowed`);
  }
  const outside = sequences.flat().find(id => !isTokenId(id, vocabSize));
  if (outside !== undefined) fail('badWords', `must have token ids in [0, ${vocabSize}), got ${outside}`);
  return sequences;
}

function badSequences(word: unknown, encode: EncodeWord): (readonly number[])[] {
  if (typeof word !== 'string') return fail('badWords', `must be a list of strings, got ${show(word)}`);
  if (word === '') return fail('badWords', 'cannot contain an empty string');
  const trimmed = word.trimStart() === '' ? word : word.trimStart();
  const plain = encode(trimmed);
  const spaced = encode(` ${trimmed}`);
  if (plain.length === 0) return fail('badWords', `must be words that have tokens, got ${show(word)}`);
  const covers = plain.every((id, i) => spaced[spaced.length - plain.length + i] === id);
  return covers ? [plain] : [plain, spaced];
}

/** Checks a budget whose ids are the caller's. */
export function checkThinkingBudget(value: unknown, vocabSize: number): ThinkingBudget | null {
  if (value === null) return null;
  const name = 'thinkingTokenBudget';
  if (typeof value !== 'object') return fail(name, `must be an object, got ${show(value)}`);
  const { tokens, beginTokenId = null, endTokenId, isOpen = false } = value as Partial<ThinkingBudget>;
  const count = checkInteger(name, tokens, 'greater than or equal to 0', tokens => tokens >= 0);
  for (const id of [endTokenId, ...(beginTokenId === null ? [] : [beginTokenId])]) {
    if (!isTokenId(id, vocabSize)) fail(name, `must have token ids in [0, ${vocabSize}) as markers, got ${show(id)}`);
  }
  return { tokens: count, beginTokenId, endTokenId: endTokenId!, isOpen: isOpen === true };
}
