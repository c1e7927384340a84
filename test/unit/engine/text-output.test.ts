import { type Detokenizer, LLMEngine, type SamplingParams, type Tokenizer } from '@quire/core';
import { describe, expect, test } from 'vitest';
import { drain, EOS, engineOptions, expectedOutput } from './helpers.ts';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz .,!?';
const greedy: SamplingParams = { temperature: 0, maxTokens: 30, ignoreEos: true };

/** One character per token; the last token is special. */
const tokenizer = {
  vocabSize: 32,
  eosTokenId: EOS,
  encode: (text: string) => [...text].map(character => ALPHABET.indexOf(character)),
  createDetokenizer: (): Detokenizer => ({
    push: id => (id === EOS ? '</s>' : ALPHABET[id]!),
    flush: () => '',
  }),
} as unknown as Tokenizer;

function open(broken = false) {
  const detokenizer: Partial<Tokenizer> = broken
    ? {
        createDetokenizer: () => ({
          push: () => {
            throw new Error('broken');
          },
          flush: () => '',
        }),
      }
    : {};
  return new LLMEngine({ ...engineOptions(), tokenizer: { ...tokenizer, ...detokenizer } });
}

async function run(prompt: string, params: SamplingParams) {
  const engine = open();
  const group = engine.add(prompt, { ...greedy, ...params });
  await drain(engine);
  const [sequence] = group.sequences;
  return {
    text: sequence!.text,
    tokens: sequence!.request.outputTokens().length,
    finishReason: sequence!.finishReason,
    stopReason: sequence!.stopReason,
  };
}

const tokens = expectedOutput(tokenizer.encode('once'), greedy, 0n, { maxModelLen: 64, vocabSize: 32 }).tokenIds;
const whole = tokens.map(id => (id === EOS ? '</s>' : ALPHABET[id])).join('');

describe('stop strings', () => {
  test('without one, the text is that of all tokens', async () => {
    expect(await run('once', {})).toEqual({ text: whole, tokens: 30, finishReason: 'length', stopReason: null });
  });

  test('cut the text before them, wherever they begin', async () => {
    for (let at = 0; at + 3 <= 20; at++) {
      const stop = whole.slice(at, at + 3);
      const first = whole.indexOf(stop);
      const result = await run('once', { stop });
      expect(result).toMatchObject({ text: whole.slice(0, first), finishReason: 'stop', stopReason: stop });
      const included = await run('once', { stop: [stop, 'never'], includeStopStrInOutput: true });
      expect(included.text).toBe(whole.slice(0, first + 3));
    }
  });

  test('what only looks like one is released', async () => {
    const almost = `${whole.slice(4, 7)}#`;
    expect((await run('once', { stop: almost })).text).toBe(whole);
    expect((await run('once', { stop: `${whole.slice(-2)}#` })).text).toBe(whole);
  });

  test('win over the length when the last token completes them', async () => {
    const stop = whole.slice(5, 8);
    expect(whole.indexOf(stop)).toBe(5);
    expect(await run('once', { stop, maxTokens: 8 })).toEqual({
      text: whole.slice(0, 5),
      tokens: 8,
      finishReason: 'stop',
      stopReason: stop,
    });
  });

  test('are not looked for among the first min_tokens', async () => {
    const stop = whole.slice(2, 4);
    const result = await run('once', { stop, minTokens: 10 });
    expect(result.tokens).toBeGreaterThan(10);
  });
});

test('what the detokenizer still holds comes at the end, but not after a stop string', async () => {
  const holding = {
    ...tokenizer,
    createDetokenizer: () => ({ ...tokenizer.createDetokenizer(), flush: () => '\ufffd' }),
  };
  const engine = new LLMEngine({ ...engineOptions(), tokenizer: holding });
  const stop = whole.slice(5, 8);
  const groups = [greedy, { ...greedy, stop }].map(params => engine.add('once', params));
  await drain(engine);
  expect(groups.map(group => group.sequences[0]!.text)).toEqual([`${whole}\ufffd`, whole.slice(0, 5)]);
});

describe('stop tokens', () => {
  test('are left out of the text unless it is asked for', async () => {
    const id = tokens[6]!;
    const end = tokens.indexOf(id);
    expect((await run('once', { stopTokenIds: [id] })).text).toBe(whole.slice(0, end));
    expect((await run('once', { stopTokenIds: [id], includeStopStrInOutput: true })).text).toBe(
      whole.slice(0, end + 1),
    );
  });
});

test('detokenize: false gives ids and no text', async () => {
  expect(await run('once', { detokenize: false })).toMatchObject({ text: '', tokens: 30 });
});

test('a detokenizer that throws ends its request alone', async () => {
  const engine = open(true);
  const bad = engine.add('once', greedy);
  const good = engine.add('once', { ...greedy, detokenize: false });
  await drain(engine);
  expect(bad.sequences[0]!.finishReason).toBe('error');
  expect(bad.error!.message).toBe('The request failed: broken');
  expect(good.sequences[0]!.request.outputTokens()).toEqual(tokens);
});
