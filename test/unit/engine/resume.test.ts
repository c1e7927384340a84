/** A request that goes on in another engine gives what it would have given in one. */
import { FrontRequests, InvalidRequestError, LLMEngine, parseEngineConfig, type SamplingParams } from '@quire/core';
import { describe, expect, test } from 'vitest';
import { openTestDevice } from '../../support/devices.ts';
import { symbolicLimits } from '../../support/symbolic-executor.ts';
import { tinyEngine } from '../../support/tiny-engine.ts';
import { drain, EOS, engineOptions, prompt, testEngine } from './helpers.ts';
import { letters } from './letters.ts';

type Group = ReturnType<LLMEngine['add']>;

function outputs(group: Group) {
  return group.sequences.map(({ text, logprobs, cumulativeLogprob, finishReason, stopReason, request }) => ({
    tokens: request.outputTokens(),
    text,
    logprobs,
    cumulativeLogprob,
    finishReason,
    stopReason,
  }));
}

const cases: [string, SamplingParams][] = [
  ['greedy', { temperature: 0, maxTokens: 12, ignoreEos: true }],
  ['seeded', { seed: 7, maxTokens: 12 }],
  ['seeded from the number of the request', { maxTokens: 12 }],
  ['min_tokens and stop ids', { seed: 9, maxTokens: 12, minTokens: 6, stopTokenIds: [3, 4, 5, 6, 7, 8] }],
  ['log-probabilities', { seed: 3, maxTokens: 8, logprobs: 3, promptLogprobs: 2 }],
  ['stop strings', { temperature: 0, maxTokens: 20, ignoreEos: true, stop: ['e', 'x'], minTokens: 3 }],
  ['n completions', { seed: 11, maxTokens: 10, n: 3 }],
  ['the best of some', { seed: 12, maxTokens: 6, n: 2, bestOf: 4 }],
  [
    'a budget of reasoning',
    {
      seed: 21,
      maxTokens: 12,
      ignoreEos: true,
      thinkingTokenBudget: { tokens: 4, beginTokenId: 1, endTokenId: 2, isOpen: true },
    },
  ],
  ['bad words', { seed: 13, maxTokens: 12, badWords: ['ab', 'c'], allowedTokenIds: [0, 1, 2, 3, 4, 5] }],
];

describe('resume', () => {
  test.each(cases)('%s: wherever the request was cut', async (_, params) => {
    const oneByOne = { config: { numSchedulerSteps: 1, runAhead: 1 } };
    const whole = new LLMEngine({ ...engineOptions(oneByOne), tokenizer: letters });
    const expected = whole.add(prompt(10), params, { number: 5 });
    const sequences = [...expected.sequences];
    // After so many tokens of each completion, the sums by which they are ranked.
    const sums: (number | null)[][] = [sequences.map(() => 0)];
    while (whole.hasUnfinished) {
      await whole.step();
      sequences.forEach(({ request, cumulativeLogprob }, i) => {
        sums[request.numOutputTokens] ??= [];
        sums[request.numOutputTokens]![i] = cumulativeLogprob;
      });
    }
    sequences.forEach(({ request, cumulativeLogprob }, i) => {
      for (let after = request.numOutputTokens; after < sums.length; after++) sums[after]![i] = cumulativeLogprob;
    });
    const longest = Math.max(...sequences.map(({ request }) => request.numOutputTokens));
    expect(longest).toBeGreaterThan(3);
    for (let cut = 0; cut <= longest; cut++) {
      const resume = sequences.map(({ request, logprobs, finishReason, stopReason }, i) => ({
        tokenIds: request.outputTokens().slice(0, cut),
        logprobs: logprobs?.slice(0, cut) ?? null,
        cumulativeLogprob: logprobs === null ? (sums[cut]?.[i] ?? null) : null,
        end: finishReason !== null && cut >= request.numOutputTokens ? { reason: finishReason, stopReason } : null,
      }));
      const engine = new LLMEngine({ ...engineOptions(), tokenizer: letters });
      const group = engine.add(prompt(10), params, { number: 5, resume });
      await drain(engine);
      expect(outputs(group)).toEqual(outputs(expected));
      expect(engine.scheduler.blocks.numFreeBlocks).toBe(engine.scheduler.blocks.numBlocks - 1);
    }
  });

  test('one that had ended ends at once, with its text', async () => {
    const engine = new LLMEngine({ ...engineOptions(), tokenizer: letters });
    const params = { maxTokens: 3, seed: 1, ignoreEos: true };
    const group = engine.add(prompt(4), params, { resume: [{ tokenIds: [0, 1, 2] }] });
    expect(group.isFinished).toBe(true);
    expect(outputs(group)[0]).toMatchObject({ text: 'abc', finishReason: 'length' });
    expect(engine.hasUnfinished).toBe(false);
    const stopped = engine.add(prompt(4), { maxTokens: 9, seed: 1 }, { resume: [{ tokenIds: [0, EOS] }] });
    expect(outputs(stopped)[0]).toMatchObject({ text: 'a', finishReason: 'stop', stopReason: null });
  });

  test.each([
    ['too few entries', { n: 2, seed: 1 }, [{ tokenIds: [] }]],
    ['more tokens than max_tokens', { maxTokens: 2 }, [{ tokenIds: [1, 2, 3] }]],
    ['a token outside the vocabulary', {}, [{ tokenIds: [symbolicLimits.vocabSize] }]],
    ['no token at all', {}, [{ tokenIds: [1.5] }]],
    ['tokens behind the end', {}, [{ tokenIds: [1, EOS, 2] }]],
    ['log-probabilities of other tokens', { logprobs: 1 }, [{ tokenIds: [1], logprobs: [] }]],
    ['beams', { useBeamSearch: true, bestOf: 2, n: 2, temperature: 0 }, [{ tokenIds: [] }, { tokenIds: [] }]],
  ] as [string, SamplingParams, { tokenIds: number[] }[]][])('refuses %s', (_, params, resume) => {
    const { engine } = testEngine();
    expect(() => engine.add(prompt(4), params, { resume })).toThrow(InvalidRequestError);
    expect(engine.hasUnfinished).toBe(false);
  });

  test('on the model: penalties and noise go on', async () => {
    const device = await openTestDevice('reference');
    const params = { seed: 5, maxTokens: 12, presencePenalty: 1, repetitionPenalty: 1.3, frequencyPenalty: 0.5, n: 2 };
    const first = await tinyEngine(device);
    const expected = first.add(prompt(9), params);
    await drain(first);
    const resume = expected.sequences.map(({ request }, i) => ({ tokenIds: request.outputTokens().slice(0, 5 + i) }));
    const second = await tinyEngine(device);
    const group = second.add(prompt(9), params, { resume });
    await drain(second);
    expect(outputs(group)).toEqual(outputs(expected));
    await Promise.all([first.dispose(), second.dispose()]);
  });
});

/** Carries tokens from an engine to the front, as a process does. */
class Pair {
  readonly front = new FrontRequests({
    limits: symbolicLimits,
    config: parseEngineConfig({}),
    tokenizer: letters,
    eosTokenIds: [EOS],
    generationConfig: null,
  });
  engine = testEngine().engine;
  #groups = new Map<Group, { group: Group; sequences: Group['sequences']; tokens: number[]; promptLogprobs: number }>();

  ask(): void {
    this.engine = testEngine().engine;
    this.#groups.clear();
    for (const request of this.front.unfinished) this.#send(request);
  }

  add(params: SamplingParams, length = 10): Group {
    const request = this.front.add(prompt(length), params, {}, 0);
    this.#send(request);
    return request.group;
  }

  #send(request: ReturnType<FrontRequests['add']>): void {
    const { resolved, options } = this.front.askOf(request);
    const group = this.engine.enqueue(resolved, options);
    const tokens = group.sequences.map(({ request: { numOutputTokens } }) => numOutputTokens);
    this.#groups.set(request.group, { group, sequences: [...group.sequences], tokens, promptLogprobs: 1 });
  }

  async step(): Promise<void> {
    await this.engine.step();
    for (const request of this.front.unfinished) this.#carry(request);
  }

  #carry(request: ReturnType<FrontRequests['add']>): void {
    const { group, sequences, tokens } = this.#groups.get(request.group)!;
    group.promptLogprobs?.forEach((logprobs, i) => {
      if (logprobs !== null) this.front.takePromptLogprobs(request, i, logprobs);
    });
    request.sequences.forEach((sequence, i) => {
      const back = sequences[i]!;
      const gained = back.request.outputTokens(tokens[i]!);
      if (group.params.useBeamSearch) {
        if (!group.isFinished || back.finishReason === null) return;
        const end = { reason: back.finishReason, stopReason: back.stopReason };
        const output = { tokens: gained, total: back.cumulativeLogprob!, logprobs: back.logprobs, end };
        this.front.takeBeam(sequence, output);
        return;
      }
      tokens[i]! += gained.length;
      const logprobs = gained.length === 0 ? null : (back.logprobs?.slice(-gained.length) ?? null);
      if (this.front.take(sequence, gained, logprobs)) this.engine.abortSequence(back);
    });
  }
}

describe('FrontRequests', () => {
  test.each([...cases, ['beams', { useBeamSearch: true, temperature: 0, n: 2, bestOf: 3, maxTokens: 5 }] as const])(
    '%s: an engine lost after any step costs nothing',
    async (_, params) => {
      const whole = new LLMEngine({ ...engineOptions(), tokenizer: letters });
      const expected = whole.add(prompt(10), params);
      await drain(whole);
      for (let lost = 0; lost < 14; lost++) {
        const pair = new Pair();
        const group = pair.add(params);
        for (let step = 0; pair.front.hasUnfinished; step++) {
          if (step === lost || step === lost + 3) pair.ask();
          await pair.step();
        }
        expect(outputs(group)).toEqual(outputs(expected));
        expect(group.promptLogprobs).toEqual(expected.promptLogprobs);
        expect(pair.front.numUnfinished).toBe(0);
      }
    },
  );

  test('a detokenizer that throws costs its request alone', () => {
    const { front } = new Pair();
    const [broken, other] = [front.add([1], {}, {}, 0), front.add([2], {}, {}, 0)];
    const [sequence] = broken.sequences;
    sequence!.pushText = () => {
      throw new Error('broken');
    };
    expect(front.take(sequence!, [1], null)).toBe(true);
    expect(broken.group.error?.message).toBe('The request failed: broken');
    expect(front.unfinished).toEqual([other]);
    expect(front.numUnfinished).toBe(1);
  });

  test('abort, refusal and close end what waits, once', () => {
    const { front } = new Pair();
    const [a, b, c] = [front.add([1], { n: 2, seed: 1 }, {}, 0), front.add([2], {}, {}, 0), front.add([3], {}, {}, 0)];
    front.abort(a.group);
    front.abort(a.group);
    front.refuse(b.group, new InvalidRequestError('wrong'));
    expect([a.group.isFinished, b.group.failure?.message, front.numUnfinished]).toEqual([true, 'wrong', 1]);
    front.close();
    expect(c.group.failure?.message).toMatch('closed');
    expect(front.numUnfinished).toBe(0);
    expect(() => front.add([1], {}, {}, 0)).toThrow('closed');
  });
});
