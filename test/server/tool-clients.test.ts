/** Tools through the clients that people use, unmodified: openai, ai with its OpenAI-compatible provider, LangChain. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { AIMessage, type AIMessageChunk, HumanMessage, ToolMessage } from '@langchain/core/messages';
import { tool as langChainTool } from '@langchain/core/tools';
import { ChatOpenAI } from '@langchain/openai';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Script } from './fake-engine.ts';
import { type Scripted, startScripted, weather } from './tool-requests.ts';

const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "days": 2}}\n</tool_call>';
/** Calls the tool, and answers once it has the result, which is the end of its prompt. */
const calls: Script = async function* ({ prompt }) {
  const ids = (prompt as { promptTokenIds: number[] }).promptTokenIds;
  const text = String.fromCharCode(...ids).endsWith('rain')
    ? '<think>Wet.</think>It rains.'
    : `<think>Hm.</think>Wait.\n${call}`;
  for (let at = 0; at < text.length; at += 5) yield text.slice(at, at + 5);
};

let server: Scripted;
beforeAll(async () => {
  server = await startScripted({ reasoningParser: 'qwen3' }, calls);
});
afterAll(() => server.server.close(0));

const args = { city: 'Oslo', days: 2 };

describe('openai', () => {
  const request = () => ({ model: 'fake', messages: [{ role: 'user' as const, content: 'Is it dry?' }] });
  const runnable = {
    type: 'function' as const,
    function: {
      name: 'weather',
      description: weather.function.description,
      parameters: { ...weather.function.parameters } as Record<string, unknown>,
      parse: (text: string): object => JSON.parse(text) as object,
      function: (given: object): string => {
        seen.push(given);
        return 'rain';
      },
    },
  };
  let seen: unknown[] = [];

  it.each([true, false])('runs tools (stream: %s)', async stream => {
    seen = [];
    const { completions } = server.client.chat;
    const fields = { ...request(), tools: [runnable] };
    const runner = stream ? completions.runTools({ ...fields, stream: true }) : completions.runTools(fields);
    expect(await runner.finalContent()).toBe('It rains.');
    expect(seen).toEqual([args]);
    expect(runner.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant']);
  });

  it('accumulates calls of a stream', async () => {
    const stream = server.client.chat.completions.stream({ ...request(), tools: [weather] });
    const names: string[] = [];
    stream.on('tool_calls.function.arguments.done', ({ name }) => names.push(name));
    const { choices } = await stream.finalChatCompletion();
    expect(names).toEqual(['weather']);
    expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: 'Wait.\n' } });
  });
});

describe('ai', () => {
  const request = () => ({
    model: createOpenAICompatible({ name: 'quire', baseURL: `${server.origin}/v1` })('fake'),
    prompt: 'Is it dry?',
    maxRetries: 0,
    stopWhen: stepCountIs(3),
    tools: {
      weather: tool({
        description: weather.function.description,
        inputSchema: jsonSchema<typeof args>(weather.function.parameters as object),
        execute: async given => (given.city === 'Oslo' ? 'rain' : 'sun'),
      }),
    },
  });

  it('generates text with tools, and tells reasoning', async () => {
    const { text, steps, reasoningText } = await generateText(request());
    expect(text).toBe('It rains.');
    expect(reasoningText).toBe('Wet.');
    expect(steps[0]!.toolCalls).toMatchObject([{ toolName: 'weather', input: args }]);
    expect(steps[0]!.finishReason).toBe('tool-calls');
  });

  it('streams text with tools, and tells reasoning', async () => {
    const result = streamText(request());
    const parts: string[] = [];
    for await (const part of result.fullStream) if (parts.at(-1) !== part.type) parts.push(part.type);
    expect(await result.text).toBe('It rains.');
    expect(await result.reasoningText).toBe('Wet.');
    expect(parts).toEqual(expect.arrayContaining(['reasoning-delta', 'tool-input-delta', 'tool-call', 'tool-result']));
  });
});

describe('LangChain', () => {
  const model = () =>
    new ChatOpenAI({ model: 'fake', apiKey: 'none', maxRetries: 0, configuration: { baseURL: `${server.origin}/v1` } });
  const bound = () =>
    model().bindTools([
      langChainTool(() => 'rain', {
        name: 'weather',
        description: weather.function.description,
        schema: weather.function.parameters,
      }),
    ]);

  it('calls bound tools and sends their results', async () => {
    const question = new HumanMessage('Is it dry?');
    const answer = await bound().invoke([question]);
    expect(answer).toBeInstanceOf(AIMessage);
    expect(answer.tool_calls).toMatchObject([{ name: 'weather', args, type: 'tool_call' }]);
    const result = new ToolMessage({ content: 'rain', tool_call_id: answer.tool_calls![0]!.id! });
    expect((await bound().invoke([question, answer, result])).content).toBe('It rains.');
  });

  it('streams them', async () => {
    let whole: AIMessageChunk | undefined;
    for await (const chunk of await bound().stream('Is it dry?')) whole = whole?.concat(chunk) ?? chunk;
    expect(whole!.tool_calls).toMatchObject([{ name: 'weather', args }]);
    expect(whole!.content).toBe('Wait.\n');
  });

  it('asks for a tool by its name, and for structured output', async () => {
    const named = await bound().invoke('Is it dry?', { tool_choice: 'weather' });
    expect(named.tool_calls).toMatchObject([{ name: 'weather', args }]);
    const structured = model().withStructuredOutput(weather.function.parameters, {
      name: 'weather',
      method: 'functionCalling',
    });
    expect(await structured.invoke('Is it dry?')).toEqual(args);
  });
});
