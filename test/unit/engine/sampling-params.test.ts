import { InvalidRequestError, resolveSamplingParams, type SamplingParams } from '@quire/core';
import { describe, expect, test } from 'vitest';

/** a = 1, b = 2 ..; a space makes the letter after it another token, 20 higher. */
const encodeLetters = (text: string) =>
  Array.from(text.matchAll(/ ?[a-z]/g), ([piece]) => piece.at(-1)!.charCodeAt(0) - 96 + (piece.length > 1 ? 20 : 0));
const limits = { maxModelLen: 100, vocabSize: 50, maxLogprobs: 5, maxBiasWords: 8 };
const base = { limits, generationConfig: null, eosTokenIds: [2], encodeWord: encodeLetters, promptTokens: 10 };
const noDefaults = {
  eosTokenIds: null,
  temperature: null,
  topP: null,
  topK: null,
  minP: null,
  repetitionPenalty: null,
  maxNewTokens: null,
};

function resolve(params: object, context: Partial<Parameters<typeof resolveSamplingParams>[1]> = {}) {
  return resolveSamplingParams(params as SamplingParams, { ...base, ...context });
}

function refusal(params: object, context = {}): InvalidRequestError {
  try {
    resolve(params, context);
  } catch (error) {
    if (error instanceof InvalidRequestError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(params)} was accepted`);
}

const bad: [string, unknown, RegExp][] = [
  ['n', 0, /^n must be at least 1 and at most 128, got 0\.$/],
  ['n', 129, /at most 128, got 129/],
  ['n', -1, /got -1/],
  ['n', 1.5, /^n must be an integer, got 1\.5\.$/],
  ['n', '2', /^n must be an integer, got "2"\.$/],
  ['n', 1e9, /got 1000000000/],
  ['presence_penalty', 2.1, /^presence_penalty must be in \[-2, 2\], got 2\.1\.$/],
  ['presence_penalty', -2.1, /in \[-2, 2\]/],
  ['frequency_penalty', 3, /^frequency_penalty must be in \[-2, 2\], got 3\.$/],
  ['frequency_penalty', null, /^frequency_penalty must be a number, got null\.$/],
  ['repetition_penalty', 0, /^repetition_penalty must be greater than zero, got 0\.$/],
  ['repetition_penalty', Number.POSITIVE_INFINITY, /must be a finite number/],
  ['temperature', -0.1, /^temperature must be in \[0, 2\], got -0\.1\.$/],
  ['temperature', 2.01, /^temperature must be in \[0, 2\]/],
  ['temperature', Number.NaN, /^temperature must be a number, got NaN\.$/],
  ['temperature', '1', /^temperature must be a number, got "1"\.$/],
  ['top_p', 0, /^top_p must be in \(0, 1\], got 0\.$/],
  ['top_p', 1.1, /^top_p must be in \(0, 1\]/],
  ['top_k', -2, /^top_k must be 0 or -1 \(off\), or at least 1, got -2\.$/],
  ['top_k', 1.5, /^top_k must be an integer/],
  ['min_p', -0.1, /^min_p must be in \[0, 1\], got -0\.1\.$/],
  ['min_p', 1.1, /^min_p must be in \[0, 1\]/],
  ['seed', 1.5, /^seed must be an integer, got 1\.5\.$/],
  ['seed', 2 ** 53, /^seed must be a bigint when it is above 2\^53/],
  ['seed', 2n ** 63n, /^seed must be in \[-2\^63, 2\^63 - 1\]/],
  ['seed', 'x', /^seed must be an integer/],
  ['max_tokens', 0, /^max_tokens must be at least 1, got 0\.$/],
  ['max_tokens', 1.5, /^max_tokens must be an integer/],
  ['min_tokens', -1, /^min_tokens must be greater than or equal to 0, got -1\.$/],
  ['min_tokens', 17, /^min_tokens must be less than or equal to the 16 tokens/],
  ['logprobs', -2, /^logprobs must be non-negative or -1, got -2\.$/],
  ['logprobs', 6, /^logprobs asks for 6 tokens, this engine allows 5/],
  ['logprobs', -1, /^logprobs asks for all tokens, this engine allows 5/],
  ['logprobs', '1', /^logprobs must be an integer, got "1"\.$/],
  ['prompt_logprobs', 6, /^prompt_logprobs asks for 6 tokens/],
  ['prompt_logprobs', -3, /^prompt_logprobs must be non-negative or -1/],
  ['stop', '', /^stop cannot contain an empty string\.$/],
  ['stop', ['a', ''], /^stop cannot contain an empty string\.$/],
  ['stop', [1], /^stop must be a string or a list of strings, got 1\.$/],
  ['stop_token_ids', [50], /^stop_token_ids must contain only token ids in \[0, 50\), got 50\.$/],
  ['stop_token_ids', [-1], /got -1/],
  ['stop_token_ids', [1.5], /got 1\.5/],
  ['stop_token_ids', 'x', /^stop_token_ids must be a list of token ids, got "x"\.$/],
  ['stop_token_ids', [1, undefined], /must contain only token ids/],
  ['include_stop_str_in_output', 1, /^include_stop_str_in_output must be true or false, got 1\.$/],
  ['ignore_eos', 'no', /^ignore_eos must be true or false/],
  ['skip_special_tokens', null, /^skip_special_tokens must be true or false/],
  ['detokenize', 0, /^detokenize must be true or false/],
  ['logit_bias', { 50: 1 }, /^logit_bias must have token ids in \[0, 50\) as keys, got "50"\.$/],
  ['logit_bias', { x: 1, '-1': 2 }, /got "x", "-1"/],
  ['logit_bias', { '05': 1 }, /got "05"/],
  ['logit_bias', { 1: 'a' }, /^logit_bias must have numbers as values, got "a" for token 1\.$/],
  ['logit_bias', [1], /^logit_bias must map token ids to numbers/],
  [
    'logit_bias',
    { 1: 1, 2: 1, 3: 1, 4: 1, 5: 1 },
    /^logit_bias is too long: 0 stop ids and 5 biases need 10 words, a row holds 8/,
  ],
  ['best_of', 0, /^best_of must be at least 1 and at most 128, got 0\.$/],
  ['best_of', 129, /at most 128, got 129/],
  ['best_of', '2', /^best_of must be an integer, got "2"\.$/],
  ['use_beam_search', 1, /^use_beam_search must be true or false, got 1\.$/],
  ['length_penalty', 2, /^length_penalty can only be set with use_beam_search\.$/],
  ['length_penalty', Number.NaN, /^length_penalty must be a number, got NaN\.$/],
  ['early_stopping', true, /^early_stopping can only be set with use_beam_search\.$/],
  ['early_stopping', 'always', /^early_stopping must be true or false/],
  ['spaces_between_special_tokens', 'x', /^spaces_between_special_tokens must be true or false/],
  ['allowed_token_ids', [], /^allowed_token_ids must not be empty/],
  ['allowed_token_ids', [50], /^allowed_token_ids must contain only token ids in \[0, 50\), got 50\.$/],
  ['allowed_token_ids', 3, /^allowed_token_ids must be a list of token ids, got 3\.$/],
  ['logprob_token_ids', [-1], /^logprob_token_ids must contain only token ids/],
  ['logprob_token_ids', Array(200).fill('a'), /^logprob_token_ids must contain only token ids/],
  ['thinking_token_budget', 5, /^thinking_token_budget must be an object, got 5\.$/],
  ['thinking_token_budget', { tokens: -1, endTokenId: 1 }, /^thinking_token_budget must be greater than or equal to 0/],
  ['thinking_token_budget', { tokens: 1 }, /^thinking_token_budget must have token ids in \[0, .*, got undefined\.$/],
  [
    'thinking_token_budget',
    { tokens: 1, endTokenId: 1, beginTokenId: 1e9 },
    /^thinking_token_budget must have token ids/,
  ],
  ['bad_words', 'abc', /^bad_words must be a list of strings, got "abc"\.$/],
  ['bad_words', ['a', ''], /^bad_words cannot contain an empty string\.$/],
  ['bad_words', [7], /^bad_words must be a list of strings, got 7\.$/],
  ['bad_words', ['?'], /^bad_words must be words that have tokens, got "\?"\.$/],
  ['bad_words', Array(129).fill('a'), /^bad_words has 129 words, at most 128/],
  ['bad_words', Array(65).fill('a'), /^bad_words make 130 token sequences, at most 128/],
  ['priority', 1.5, /^priority must be an integer/],
  ['cache_salt', '', /^cache_salt must be a string that is not empty/],
  ['cache_salt', 5, /^cache_salt must be a string that is not empty, got 5\.$/],
  ['cache_salt', 's'.repeat(257), /^cache_salt must have at most 256 characters, got 257\.$/],
  ['logits_processors', [1], /^logits_processors must be a list of functions/],
];

describe('a sampling parameter out of range is refused with a sentence that names it', () => {
  test.each(bad)('%s = %o', (param, value, message) => {
    const error = refusal({ [param]: value });
    expect(error.message).toMatch(message);
    expect(error.param).toBe(param);
    expect(error.code).toBe('invalid_request');
  });
});

describe('names', () => {
  test('camelCase and snake_case mean the same', () => {
    expect(resolve({ top_p: 0.5, stop_token_ids: [3] })).toEqual(resolve({ topP: 0.5, stopTokenIds: [3] }));
  });
  test('an unknown name is an error that names the nearest known one', () => {
    expect(refusal({ temprature: 1 }).message).toBe(
      'Unknown sampling parameter "temprature". Did you mean "temperature"?',
    );
    expect(refusal({ max_token: 1 }).message).toContain('"max_tokens"');
    expect(refusal({ best_off: 2 }).message).toContain('"best_of"');
    expect(refusal({ __proto__x: 2 }).message).toContain('__proto__x');
  });
  test('a name given twice is an error', () => {
    expect(refusal({ topP: 1, top_p: 1 }).message).toContain('given twice');
  });
  test('parameters must be an object', () => {
    expect(refusal(null as never).message).toBe('sampling_params must be an object, got null.');
    expect(refusal([] as never).param).toBe('sampling_params');
  });
});

describe('resolution', () => {
  test('defaults are those of vLLM, frozen', () => {
    const params = resolve({});
    expect(params).toEqual({
      n: 1,
      bestOf: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      repetitionPenalty: 1,
      temperature: 1,
      topP: 1,
      topK: 0,
      minP: 0,
      seed: null,
      useBeamSearch: false,
      lengthPenalty: 1,
      earlyStopping: false,
      maxTokens: 16,
      minTokens: 0,
      logprobs: null,
      promptLogprobs: null,
      logprobTokenIds: null,
      stop: [],
      stopTokenIds: new Set(),
      includeStopStrInOutput: false,
      ignoreEos: false,
      skipSpecialTokens: true,
      spacesBetweenSpecialTokens: true,
      detokenize: true,
      logitBias: [],
      allowedTokenIds: null,
      badWords: [],
      thinkingTokenBudget: null,
      structuredOutputs: null,
      logitsProcessors: [],
      priority: 0,
      cacheSalt: null,
    });
    expect(Object.isFrozen(params)).toBe(true);
  });
  test('generation_config.json comes before them, after what the caller says, and is checked too', () => {
    const generationConfig = { ...noDefaults, temperature: 0.5, topK: 7, repetitionPenalty: 1.2, maxNewTokens: 12 };
    expect(resolve({ topK: 0 }, { generationConfig })).toMatchObject({
      temperature: 0.5,
      topK: 0,
      repetitionPenalty: 1.2,
      maxTokens: 12,
    });
    expect(resolve({ maxTokens: null }, { generationConfig }).maxTokens).toBe(12);
    expect(resolve({ maxTokens: 40 }, { generationConfig }).maxTokens).toBe(40);
    expect(refusal({}, { generationConfig: { ...noDefaults, temperature: 9 } }).param).toBe('temperature');
  });
  test('a temperature below 1e-5 is greedy and turns the filters off; other small ones become 0.01', () => {
    const greedy = resolve({ temperature: 1e-6, topP: 0.5, topK: 3, minP: 0.1 });
    expect(greedy).toMatchObject({ temperature: 0, topP: 1, topK: 0, minP: 0 });
    expect(resolve({ temperature: 0.001, topK: 3 })).toMatchObject({ temperature: 0.01, topK: 3 });
    expect(refusal({ temperature: 0, n: 2 }).message).toBe('n must be 1 when using greedy sampling, got 2.');
    expect(refusal({ temperature: 0, top_p: 2 }).param).toBe('top_p');
  });
  test('top_k of -1, 0 and the whole vocabulary are off', () => {
    for (const topK of [-1, 0, 50, 1000]) expect(resolve({ topK }).topK).toBe(0);
    expect(resolve({ topK: 49 }).topK).toBe(49);
  });
  test('max_tokens is what the context has room for', () => {
    expect(resolve({ maxTokens: 1000 }).maxTokens).toBe(90);
    expect(resolve({ maxTokens: null }).maxTokens).toBe(90);
    expect(resolve({}, { promptTokens: 95 }).maxTokens).toBe(5);
  });
  test('min_tokens is checked against what is left after all defaults', () => {
    expect(refusal({ minTokens: 91, maxTokens: null }).param).toBe('min_tokens');
    expect(refusal({ minTokens: 6 }, { promptTokens: 95 }).param).toBe('min_tokens');
    expect(resolve({ minTokens: 90, maxTokens: null }).minTokens).toBe(90);
  });
  test('seeds are 64 bits: negative ones wrap, null and -1 are none', () => {
    expect(resolve({ seed: 7 }).seed).toBe(7n);
    expect(resolve({ seed: -2n }).seed).toBe(2n ** 64n - 2n);
    expect(resolve({ seed: 2n ** 63n - 1n }).seed).toBe(2n ** 63n - 1n);
    for (const seed of [null, undefined, -1]) expect(resolve({ seed }).seed).toBe(null);
  });
  test('logprobs of -1 is the whole vocabulary where the engine allows it', () => {
    expect(resolve({ logprobs: -1 }, { limits: { ...limits, maxLogprobs: -1 } }).logprobs).toBe(50);
    expect(resolve({ logprobs: -1 }, { limits: { ...limits, maxLogprobs: 50 } }).logprobs).toBe(50);
    expect(resolve({ logprobs: 0, promptLogprobs: 5 })).toMatchObject({ logprobs: 0, promptLogprobs: 5 });
  });
  test('logprobs of true is one, of false none', () => {
    expect(resolve({ logprobs: true, promptLogprobs: false })).toMatchObject({ logprobs: 1, promptLogprobs: null });
  });
  test('logprob_token_ids exclude another number of logprobs', () => {
    expect(resolve({ logprobTokenIds: [4, 9, 4] })).toMatchObject({ logprobs: 0, logprobTokenIds: [4, 9] });
    expect(resolve({ logprobTokenIds: [4, 9], logprobs: 2 }).logprobTokenIds).toEqual([4, 9]);
    expect(refusal({ logprobTokenIds: [4, 9], logprobs: 1 }).param).toBe('logprobs');
    expect(resolve({ logprobTokenIds: [] })).toMatchObject({ logprobs: null, logprobTokenIds: null });
    const many = Array.from({ length: 129 }, (_, id) => id);
    expect(refusal({ logprobTokenIds: many }, { limits: { ...limits, vocabSize: 200 } }).message).toBe(
      'logprob_token_ids has 129 ids, at most 128 are allowed.',
    );
  });
  test('best_of is at least n, and greedy has neither', () => {
    expect(resolve({ n: 3 }).bestOf).toBe(3);
    expect(resolve({ n: 3, bestOf: null }).bestOf).toBe(3);
    expect(resolve({ n: 2, bestOf: 5 })).toMatchObject({ n: 2, bestOf: 5 });
    expect(refusal({ n: 2, best_of: 1 }).message).toBe('best_of must be greater than or equal to n=2, got 1.');
    expect(refusal({ temperature: 0, best_of: 2 }).message).toBe(
      'best_of must be 1 when using greedy sampling, got 2.',
    );
  });
  test('beam search is greedy, wider than one, and takes no defaults of a sampler', () => {
    const generationConfig = { ...noDefaults, temperature: 0.5, topK: 7, topP: 0.9, minP: 0.1, repetitionPenalty: 1.1 };
    expect(resolve({ useBeamSearch: true, n: 2 }, { generationConfig })).toMatchObject({
      useBeamSearch: true,
      n: 2,
      bestOf: 2,
      temperature: 0,
      topP: 1,
      topK: 0,
      minP: 0,
    });
    const beams = { useBeamSearch: true, bestOf: 4, lengthPenalty: -0.5, earlyStopping: 'never' };
    expect(resolve(beams)).toMatchObject({ n: 1, bestOf: 4, lengthPenalty: -0.5, earlyStopping: 'never' });
    expect(refusal({ useBeamSearch: true }).param).toBe('best_of');
    for (const [name, value] of Object.entries({ temperature: 0.5, top_p: 0.9, top_k: 5, min_p: 0.1 })) {
      expect(refusal({ useBeamSearch: true, n: 2, [name]: value }).param).toBe(name);
    }
    const withoutEffect = {
      structured_outputs: { regex: 'a' },
      logits_processors: [() => {}],
      presence_penalty: 1,
      frequency_penalty: 1,
      repetition_penalty: 2,
      logit_bias: { 1: 1 },
      allowed_token_ids: [1],
      bad_words: ['a'],
      logprob_token_ids: [1],
    };
    for (const [name, value] of Object.entries(withoutEffect)) {
      expect(refusal({ ...beams, [name]: value }).param).toBe(name);
    }
  });
  test('bad words become token sequences, with and without a space before them', () => {
    expect(resolve({ badWords: ['a', 'ab'] }).badWords).toEqual([[1], [21], [1, 2], [21, 2]]);
    expect(resolve({ badWords: [' ab', ' a b'] }).badWords).toEqual([
      [1, 2],
      [21, 2],
      [1, 22],
      [21, 22],
    ]);
    const spaceApart = (text: string) => Array.from(text, letter => (letter === ' ' ? 30 : letter.charCodeAt(0) - 96));
    expect(resolve({ badWords: ['ab'] }, { encodeWord: spaceApart }).badWords).toEqual([[1, 2]]);
    const longer = (text: string) => (text.startsWith(' ') ? [9] : [1, 2]);
    expect(resolve({ badWords: ['ab'] }, { encodeWord: longer }).badWords).toEqual([[1, 2], [9]]);
    expect(refusal({ badWords: ['z'] }, { limits: { ...limits, vocabSize: 40 } }).message).toBe(
      'bad_words must have token ids in [0, 40), got 46.',
    );
    expect(refusal({ badWords: ['a'] }, { encodeWord: null }).message).toContain('need a tokenizer');
  });
  test('biases are clamped to 100', () => {
    expect(resolve({ logitBias: { 3: 1000, 4: -1e9, 5: 1 } }).logitBias).toEqual([
      [3, 100],
      [4, -100],
      [5, 1],
    ]);
  });
  test('stop ids count against the row only while min_tokens masks them', () => {
    const stopTokenIds = [10, 11, 12, 13, 14, 15, 16, 17];
    expect(resolve({ stopTokenIds }).stopTokenIds.size).toBe(8);
    expect(refusal({ stopTokenIds, minTokens: 1 }).message).toContain('9 stop ids and 0 biases need 9 words');
  });
  test('text needs a tokenizer', () => {
    expect(resolve({}, { encodeWord: null }).detokenize).toBe(false);
    expect(refusal({ detokenize: true }, { encodeWord: null }).param).toBe('detokenize');
    expect(refusal({ stop: 'a', detokenize: false }).message).toBe(
      'stop strings are only supported when detokenize is true.',
    );
    expect(resolve({ stop: ['a', 'b', 'a'] }).stop).toEqual(['a', 'b']);
    expect(resolve({ stop: null }).stop).toEqual([]);
  });
});
