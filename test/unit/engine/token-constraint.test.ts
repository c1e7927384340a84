/** Allowed ids and bad words in any interleaving: each request gives what it gives alone on a token list. */
import { LLMEngine, type SamplingParams, type Tokenizer } from '@quire/core';
import { describe, expect, test } from 'vitest';
import { drawFrom } from '../../support/random-schema.ts';
import { nextToken, oracleStates } from '../../support/symbolic-model.ts';
import { drain, EOS, engineOptions, prompt, tokensOf } from './helpers.ts';

const VOCAB = 32;
const letters = 'abcdefghijklmnopqrstuvwxyz';

/** Each letter is a token, whatever comes before it; only words are encoded. */
const tokenizer = {
  encode: (text: string) => Array.from(text.trim(), letter => letters.indexOf(letter)),
  createDetokenizer: () => ({ push: () => '', flush: () => '' }),
} as unknown as Tokenizer;

interface Ask {
  prompt: number[];
  params: SamplingParams & { seed: number; maxTokens: number };
}

/** What may come next, from the words of the parameters. */
function allows(params: SamplingParams, output: readonly number[], token: number): boolean {
  const { allowedTokenIds, badWords, thinkingTokenBudget: budget } = params;
  if (allowedTokenIds && !allowedTokenIds.includes(token)) return false;
  if (budget && !output.includes(budget.endTokenId) && token !== budget.endTokenId) {
    const begin = budget.isOpen ? 0 : output.indexOf(budget.beginTokenId!);
    const thoughts = begin < 0 ? null : output.slice(begin).filter(id => id !== budget.beginTokenId);
    if (thoughts !== null && thoughts.length >= budget.tokens) return false;
  }
  const written = [...output, token].map(id => letters[id] ?? '?').join('');
  return !(badWords ?? []).some(word => written.endsWith(word));
}

function alone({ prompt: given, params }: Ask): number[] {
  const tokens = [...given];
  const sampling = {
    temperature: 1,
    topK: params.topK ?? 0,
    seed: BigInt(params.seed),
    minTokensUntil: 0,
    stopTokenIds: [],
    logitBias: [],
  };
  const output: number[] = [];
  while (output.length < params.maxTokens) {
    const state = oracleStates(tokens).at(-1)!;
    const token = nextToken(state, tokens.length, sampling, VOCAB, candidate => allows(params, output, candidate));
    tokens.push(token);
    output.push(token);
    if (token === EOS) break;
  }
  return output;
}

function randomAsk(draw: (below: number) => number): Ask {
  const few = draw(3) > 0;
  const allowedTokenIds = few ? Array.from({ length: 4 + draw(8) }, () => draw(29)) : null;
  // Short words of few letters, so that they are often about to be completed.
  const badWords = Array.from({ length: draw(4) }, () =>
    Array.from({ length: 2 + draw(2) }, () => letters[(allowedTokenIds ?? [1, 2, 3])[draw(3)]!] ?? 'b').join(''),
  );
  const [beginTokenId, endTokenId] = new Set(allowedTokenIds ?? []);
  // A word that bans the end of the reasoning would leave nothing.
  const thinks = draw(3) === 0 && endTokenId !== undefined;
  const params = {
    seed: draw(1000),
    maxTokens: 1 + draw(16),
    topK: few ? 0 : 4,
    badWords: thinks ? [] : badWords,
    ...(thinks
      ? { thinkingTokenBudget: { tokens: draw(6), beginTokenId: beginTokenId!, endTokenId, isOpen: draw(2) === 0 } }
      : {}),
    allowedTokenIds,
    detokenize: false,
  };
  return { prompt: prompt(1 + draw(20), draw(20)), params };
}

describe('a mask holds wherever its row runs', () => {
  test.each([
    { runAhead: 1, numSchedulerSteps: 1, numBlocks: 33 },
    { runAhead: 4, numSchedulerSteps: 4, numBlocks: 33 },
    { runAhead: 3, numSchedulerSteps: 2, numBlocks: 11 },
  ])('%j', async ({ numBlocks, ...config }) => {
    const draw = drawFrom(numBlocks + config.runAhead);
    let preemptions = 0;
    for (let round = 0; round < 25; round++) {
      const options = engineOptions({ config, limits: { numBlocks } });
      const engine = new LLMEngine({ ...options, tokenizer });
      const asks = Array.from({ length: 8 }, () => randomAsk(draw));
      const groups: ReturnType<LLMEngine['add']>[] = [];
      for (const ask of asks) {
        groups.push(engine.add(ask.prompt, ask.params));
        if (draw(2) === 0) await engine.step();
      }
      await drain(engine);
      asks.forEach((ask, i) => {
        expect(groups[i]!.error).toBeNull();
        expect(tokensOf(groups[i]!), JSON.stringify(ask)).toEqual(alone(ask));
      });
      preemptions += engine.stats().numPreemptions;
    }
    if (numBlocks === 11) expect(preemptions).toBeGreaterThan(0);
  });

  test('rows that depend on their tokens sit out, and the others go on', async () => {
    const { executor, ...options } = engineOptions({ config: { runAhead: 4, numSchedulerSteps: 4 } });
    const engine = new LLMEngine({ ...options, executor, tokenizer });
    const free = engine.add(prompt(3), { seed: 1, maxTokens: 40, ignoreEos: true, detokenize: false });
    await drain(engine);
    const stepsAlone = executor.submits;
    const again = engine.add(prompt(3), { seed: 1, maxTokens: 40, ignoreEos: true, detokenize: false });
    const held = engine.add(prompt(5), { seed: 2, maxTokens: 8, ignoreEos: true, badWords: ['ab'], detokenize: false });
    await drain(engine);
    expect(tokensOf(again)).toEqual(tokensOf(free));
    expect(tokensOf(held)).toHaveLength(8);
    // A step of its own for each token of the held row at most.
    expect(executor.submits - stepsAlone).toBeLessThanOrEqual(stepsAlone + 40);
  });
});

test('structured outputs are refused by an engine that has no thread for grammars, before the request is queued', async () => {
  const engine = new LLMEngine({ ...engineOptions(), tokenizer });
  const params = { structuredOutputs: { regex: 'a' }, detokenize: false };
  const refusal = expect.objectContaining({ param: 'structured_outputs', code: 'invalid_request' });
  expect(() => engine.add(prompt(3), params)).toThrow(refusal);
  await expect(engine.prepare(params)).rejects.toThrow(refusal);
  await expect(engine.prepare({ detokenize: false })).resolves.toBeUndefined();
  expect(engine.hasUnfinished).toBe(false);
});

test('a request whose grammar is being compiled waits, and leaves without a trace when it is aborted or refused', async () => {
  let answer: (session: unknown) => void = () => {};
  let refuse: (cause: Error) => void = () => {};
  let closed = 0;
  const session = {
    mask: new Uint32Array(1).fill(1 << 5),
    isOver: false,
    accept: async () => {},
    close: () => closed++,
  };
  const start = () =>
    new Promise((resolve, reject) => {
      answer = resolve;
      refuse = reject;
    });
  const grammars = { start, prepare: async () => '', dispose: async () => {} } as never;
  const engine = new LLMEngine({ ...engineOptions(), tokenizer, grammars });
  const params = { structuredOutputs: { regex: 'a' }, detokenize: false, maxTokens: 3, ignoreEos: true };

  const aborted = engine.add(prompt(3), params);
  expect(engine.stats()).toMatchObject({ numRequestsWaiting: 1, numRequestsRunning: 0 });
  engine.abort(aborted);
  answer(session);
  await drain(engine);
  expect([aborted.sequences[0]!.finishReason, closed]).toEqual(['abort', 1]);

  const refused = engine.add(prompt(3), params);
  refuse(new Error('it cannot be used'));
  await drain(engine);
  expect(refused.failure?.message).toBe('it cannot be used');

  // The engine waits for the grammar alone, and yet a request that comes meanwhile runs at once.
  const served = engine.add(prompt(3), params);
  const waiting = engine.step();
  const free = engine.add(prompt(4), { maxTokens: 8, ignoreEos: true, detokenize: false });
  await waiting;
  while (!free.isFinished) await engine.step();
  expect(tokensOf(free)).toHaveLength(8);
  expect(tokensOf(served)).toEqual([]);
  answer(session);
  await drain(engine);
  expect(tokensOf(served)).toEqual([5, 5, 5]);
  expect(engine.stats().numRequestsWaiting).toBe(0);

  const last = engine.add(prompt(3), params);
  const stuck = engine.step();
  engine.abort(last);
  await stuck;
  expect(engine.hasUnfinished).toBe(false);
});
