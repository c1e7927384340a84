/**
 * One list of features through openai, ai with its OpenAI-compatible provider, and LangChain's OpenAI chat model, all unmodified, whole
 * and streamed. What only one of them has stands in files of its own: openai-client, ai-sdk, tool-clients, responses, batch.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Ask, type Client, clientsOf, type Said } from './client-adapters.ts';
import { goldenCase, startTinyServer, type TinyServer } from './tiny-server.ts';

const KEY = 'only-for-clients';
let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer({ apiKeys: [KEY] });
});
afterAll(() => tiny.server.close(0));

const capital = goldenCase('capital');
const user = (content: string) => ({ role: 'user' as const, content });
const question: Ask = { turns: [user('What is the capital of Japan?')], temperature: 0, maxTokens: 40 };
const schema = {
  type: 'object',
  properties: { a: { type: 'boolean' }, b: { enum: ['x', 'y'] } },
  required: ['a', 'b'],
  additionalProperties: false,
};
const chat = (name: string): Ask['turns'] =>
  [...goldenCase(name).prompt.matchAll(/<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>/gs)].map(([, role, content]) => ({
    role: role as 'user',
    content: content!,
  }));

interface Feature {
  ask: Partial<Ask>;
  /** Default: the golden text. */
  text?: string | RegExp;
  /** Default: stop. */
  finish?: 'stop' | 'length';
  check?: (said: Said) => void;
}

const features: Record<string, Feature> = {
  'greedy text': { ask: {} },
  'a limit of tokens': { ask: { maxTokens: 3 }, text: /^The/, finish: 'length' },
  'stop strings': { ask: { stop: ['Japan', 'zzz'] }, text: 'The capital of ' },
  'several turns': { ask: { turns: chat('two-turns') }, text: goldenCase('two-turns').text },
  'text beyond ASCII': { ask: { turns: chat('hello-chinese') }, text: goldenCase('hello-chinese').text },
  'a system message': { ask: { turns: [{ role: 'system', content: 'Be brief.' }, ...question.turns] }, text: /./ },
  'counts of tokens': {
    ask: {},
    check: ({ inputTokens, outputTokens, cachedTokens }) => {
      expect([inputTokens, outputTokens]).toEqual([capital.promptTokenIds.length, capital.tokenIds.length]);
      // The prompt was asked before.
      expect(cachedTokens).toBe(16);
    },
  },
  'penalties of nothing, and all of the probability': { ask: { presencePenalty: 0, frequencyPenalty: 0, topP: 1 } },
  'JSON of a schema': {
    ask: { schema },
    text: /^\{/,
    check: ({ text }) =>
      expect(JSON.parse(text)).toEqual({ a: expect.any(Boolean), b: expect.stringMatching(/^[xy]$/) }),
  },
  "vLLM's fields": {
    ask: { extra: { ignore_eos: true, min_tokens: 15, top_k: 1 }, maxTokens: 15 },
    text: /Tokyo/,
    finish: 'length',
  },
  'a choice of texts': {
    ask: { extra: { structured_outputs: { choice: ['Osaka', 'Kyoto'] } } },
    text: /^(Osaka|Kyoto)$/,
  },
};

const ways = ['whole', 'streamed'] as const;

describe.each(['openai', 'ai', 'LangChain'])('%s', name => {
  const client = (key = KEY): Client => clientsOf(tiny.origin, key).find(one => one.name === name)!;

  describe.each(ways)('%s', way => {
    it.each(Object.entries(features))('%s', async (_, { ask, text = capital.text, finish = 'stop', check }) => {
      const said = await client()[way]({ ...question, ...ask });
      if (text instanceof RegExp) expect(said.text).toMatch(text);
      else expect(said.text).toBe(text);
      expect(said.finish).toBe(finish);
      check?.(said);
    });

    it('the same text for the same seed, and another for another', async () => {
      const ask = (seed: number) => client()[way]({ ...question, temperature: 1.5, maxTokens: 24, seed });
      const [first, again, other] = [await ask(5), await ask(5), await ask(6)];
      expect(again.text).toBe(first.text);
      expect(other.text).not.toBe(first.text);
    });

    it('hears what is wrong with a request', async () => {
      await expect(client()[way]({ ...question, temperature: 5 })).rejects.toThrow(
        /temperature must be in \[0, 2\], got 5/,
      );
    });

    it('hears that its key is wrong', async () => {
      await expect(client('another')[way](question)).rejects.toThrow(/valid API key/);
    });
  });

  it('may leave a stream, and the engine is free again', async () => {
    const controller = new AbortController();
    const long = { ...question, maxTokens: 400, extra: { ignore_eos: true }, signal: controller.signal };
    await expect(client().streamed(long, () => controller.abort(new Error('left')))).rejects.toThrow();
    const { engine } = tiny.server;
    const isFree = () => engine.stats().numRequestsRunning + engine.stats().numRequestsWaiting === 0;
    while (!isFree()) await new Promise(resolve => setTimeout(resolve, 10));
    expect(engine.stats().finished.abort).toBeGreaterThan(0);
  });
});
