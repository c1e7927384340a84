/** Long prompts are tokenised on a thread, with the same ids and the same errors. */
import { InvalidRequestError, parseEngineConfig } from '@quire/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTokenizer } from '../../packages/server/src/tokenizer/open-tokenizer.ts';
import { holdsText, ThreadedTokenizer } from '../../packages/server/src/tokenizer/threaded-tokenizer.ts';
import { build } from './build.ts';
import { tinyLlama } from './tiny-server.ts';

const config = parseEngineConfig({ model: tinyLlama });
let threaded: ThreadedTokenizer;
let inline: Awaited<ReturnType<typeof openTokenizer>>;

beforeAll(async () => {
  await build();
  inline = await openTokenizer(config);
  threaded = new ThreadedTokenizer(inline, config);
});
afterAll(() => threaded.dispose());

const story = 'Once upon a time there was a little cat who liked long words, 12345 of them. ';

describe('a threaded tokenizer', () => {
  it('answers short prompts at once, and long ones with the same ids', async () => {
    expect(threaded.encode('Once')).toEqual(inline.encode('Once'));
    const long = story.repeat(400);
    const ids = threaded.encode(long, { addSpecialTokens: false });
    expect(ids).toBeInstanceOf(Promise);
    expect(await ids).toEqual(inline.encode(long, { addSpecialTokens: false }));
  });

  it('renders long conversations there', async () => {
    const messages = Array.from({ length: 200 }, (_, i) => ({ role: i % 2 ? 'assistant' : 'user', content: story }));
    const ids = threaded.encodeChat(messages, { addGenerationPrompt: true });
    expect(ids).toBeInstanceOf(Promise);
    expect(await ids).toEqual(inline.encodeChat(messages, { addGenerationPrompt: true }));
    expect(threaded.encodeChat(messages.slice(0, 3))).toEqual(inline.encodeChat(messages.slice(0, 3)));
  });

  it('throws what the tokenizer throws, and goes on', async () => {
    const [refused, kept] = await Promise.allSettled([
      threaded.encode(story.repeat(400), { maxTokens: 5 }),
      threaded.encode(story.repeat(300)),
    ]);
    expect(refused).toMatchObject({ reason: { code: 'prompt_too_long', param: 'prompt' } });
    expect((refused as PromiseRejectedResult).reason).toBeInstanceOf(InvalidRequestError);
    expect(kept).toMatchObject({ value: inline.encode(story.repeat(300)) });
  });

  it('leaves the loop free while a megabyte is tokenised', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const ids = await threaded.encode('abcdefgh '.repeat(2 ** 17));
    clearInterval(timer);
    expect(ids.length).toBeGreaterThan(2 ** 17);
    expect(turns).toBeGreaterThan(20);
  });
});

it.each([
  ['short', 8, false],
  ['long enough', 8, true],
  [['a', 'b'], 18, true],
  [['a', 'b'], 19, false],
  [{ content: 'x'.repeat(100) }, 100, true],
  [null, 100, false],
])('%j holds %i characters: %s', (value, length, expected) => {
  expect(holdsText(value, length)).toBe(expected);
});
