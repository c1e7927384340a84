import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { goldenCase, startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer();
});
afterAll(() => tiny.server.close(0));

const provider = () => createOpenAICompatible({ name: 'quire', baseURL: `${tiny.origin}/v1`, includeUsage: true });
const request = () => ({
  model: provider()('tiny'),
  prompt: 'What is the capital of Japan?',
  temperature: 0,
  maxRetries: 0,
});

it('generates text', async () => {
  const { text, finishReason, usage } = await generateText(request());
  expect(text).toBe(goldenCase('capital').text);
  expect(finishReason).toBe('stop');
  expect(usage).toMatchObject({ inputTokens: 22, outputTokens: 11, totalTokens: 33 });
});

it('streams text, and reads the tokens of the prefix cache', async () => {
  const result = streamText(request());
  let text = '';
  for await (const piece of result.textStream) text += piece;
  expect(text).toBe(goldenCase('capital').text);
  expect(await result.usage).toMatchObject({
    inputTokens: 22,
    outputTokens: 11,
    inputTokenDetails: { cacheReadTokens: 16 },
  });
});

it('hears of a request that is refused', async () => {
  const refused = generateText({ ...request(), temperature: 5 });
  await expect(refused).rejects.toThrow(/temperature must be in \[0, 2\], got 5/);
});
