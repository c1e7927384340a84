/** Calls that a request asks for: the text is bound to them, so that a model that knows nothing of tools makes them too. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { qwen25 } from '../unit/tokenizer/tool-templates.ts';
import { startTinyServer, type TinyServer } from './tiny-server.ts';
import { clock, postChat, weather } from './tool-requests.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer();
});
afterAll(() => tiny.server.close(0));

const messages = [{ role: 'user' as const, content: 'What is the capital of Japan?' }];
const request = { model: 'tiny', messages, temperature: 0, max_tokens: 400 };
const isWeather = new Ajv2020().compile(weather.function.parameters);
const lookup = (name: string) => ({ type: 'function' as const, function: { name } });

describe('a tool by its name', () => {
  it('is called, whole and streamed', async () => {
    const fields = { ...request, tools: [clock, weather], tool_choice: lookup('weather') };
    const { choices } = await tiny.client.chat.completions.create(fields);
    const [call] = choices[0]!.message.tool_calls!;
    if (call?.type !== 'function') throw new Error('no function');
    expect(call.function.name).toBe('weather');
    expect(isWeather(JSON.parse(call.function.arguments))).toBe(true);
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: null } });
    const streamed = await tiny.client.chat.completions.stream(fields).finalChatCompletion();
    expect(streamed.choices[0]!.message.tool_calls![0]).toMatchObject({ function: call.function });
    expect(streamed.choices[0]!.finish_reason).toBe('stop');
  });
});

it('loses no token of a call that is streamed', async () => {
  const fields = {
    ...request,
    tools: [weather],
    tool_choice: lookup('weather'),
    logprobs: true,
    return_token_ids: true,
  };
  const { usage } = await tiny.client.chat.completions.create(fields);
  const stream = await tiny.client.chat.completions.create({ ...fields, stream: true });
  let tokens = 0;
  let logprobs = 0;
  for await (const { choices } of stream) {
    const [choice] = choices as { token_ids?: number[]; logprobs?: { content: unknown[] | null } | null }[];
    tokens += choice?.token_ids?.length ?? 0;
    logprobs += choice?.logprobs?.content?.length ?? 0;
  }
  expect([tokens, logprobs]).toEqual([usage!.completion_tokens, usage!.completion_tokens]);
});

it('shows tools to a model whose template, given at the start, knows them', async () => {
  const taught = await startTinyServer({ chatTemplate: qwen25 });
  const post = (path: string, fields: object) =>
    fetch(`${taught.origin}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(fields),
    }).then(response => response.json());
  const fields = { ...request, tools: [clock], max_tokens: 1 };
  const { tokens } = (await post('/tokenize', fields)) as { tokens: number[] };
  const { prompt } = (await post('/detokenize', { tokens })) as { prompt: string };
  expect(prompt).toContain(`<tools>\n${'{"type": "function", "function": {"name": "clock", "parameters": {'}`);
  expect(await taught.client.chat.completions.create(fields)).toMatchObject({ choices: [{ finish_reason: 'length' }] });
  await taught.server.close(0);
});

describe('some tool', () => {
  it.each([1, 2, 3])('is called, with seed %i', async seed => {
    const fields = { ...request, temperature: 1, seed, tools: [clock, weather], tool_choice: 'required' as const };
    const { choices } = await tiny.client.chat.completions.create({ ...fields, parallel_tool_calls: false });
    const { message, finish_reason: reason } = choices[0]!;
    expect([message.content, reason, message.tool_calls?.length]).toEqual([null, 'tool_calls', 1]);
    const [call] = message.tool_calls!;
    if (call?.type !== 'function') throw new Error('no function');
    const args: unknown = JSON.parse(call.function.arguments);
    expect(call.function.name === 'clock' ? JSON.stringify(args) === '{}' : isWeather(args)).toBe(true);
  });

  it('or several are called', async () => {
    const fields = { ...request, temperature: 1.5, seed: 5, n: 2, tools: [clock], tool_choice: 'required' as const };
    const { choices } = await tiny.client.chat.completions.create(fields);
    for (const { message, finish_reason: reason } of choices) {
      expect(['tool_calls', 'length']).toContain(reason);
      expect(message.tool_calls!.length).toBeGreaterThan(0);
      for (const call of message.tool_calls!.slice(0, -1)) expect(call).toMatchObject({ function: { name: 'clock' } });
    }
    const ids = choices.flatMap(({ message }) => message.tool_calls!.map(call => call.id));
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('is called in the words of Llama 3', async () => {
    const llama = await startTinyServer({ toolCallParser: 'llama3_json' });
    const fields = { ...request, tools: [weather], tool_choice: 'required' as const, parallel_tool_calls: false };
    const { choices } = await llama.client.chat.completions.create({ ...fields, logprobs: true });
    const [call] = choices[0]!.message.tool_calls!;
    if (call?.type !== 'function') throw new Error('no function');
    expect(isWeather(JSON.parse(call.function.arguments))).toBe(true);
    const text = choices[0]!.logprobs!.content!.map(({ token }) => token).join('');
    expect(text).toContain('{"name": "weather", "parameters": {');
    await llama.server.close(0);
  });

  it('is called behind the reasoning, which is free', async () => {
    const thinker = await startTinyServer({ reasoningParser: 'deepseek_r1' });
    const fields = { ...request, tools: [clock], tool_choice: 'required' as const, parallel_tool_calls: false };
    // The model was never taught to end its thoughts, and may not end the answer before it has.
    const { choices } = await thinker.client.chat.completions.create({ ...fields, max_tokens: 60 });
    expect(choices[0]).toMatchObject({ finish_reason: 'length', message: { content: '' } });
    expect((choices[0]!.message as { reasoning?: string }).reasoning).toMatch(/\w+/);
    const thought = { role: 'assistant' as const, content: 'Which one?</think>' };
    const behind = { ...fields, messages: [...messages, thought], continue_final_message: true };
    const { choices: answered } = await thinker.client.chat.completions.create(behind);
    expect(answered[0]!.message.tool_calls).toMatchObject([{ function: { name: 'clock' } }]);
    await thinker.server.close(0);
  });
});

const bad = (parameters: object) => ({ type: 'function', function: { name: 'f', parameters } });
const hostile: [place: string, parameters: object][] = [
  ['.properties.a.type', { type: 'object', properties: { a: { type: 'wizard' } } }],
  ['.properties.a.pattern', { type: 'object', properties: { a: { type: 'string', pattern: '(a+' } } }],
  ['.properties.a.pattern', { type: 'object', properties: { a: { type: 'string', pattern: '(?=a)' } } }],
  ['.properties.a.pattern', { type: 'object', properties: { a: { type: 'string', pattern: 5 } } }],
  ['.properties.a', { type: 'object', properties: { a: { not: {} } } }],
  ['.properties', { type: 'object', properties: [] }],
  ['.required', { type: 'object', required: 'a' }],
  ['.properties.a.$ref', { type: 'object', properties: { a: { $ref: 'http://example.com' } } }],
  ['.properties.a.$ref', { type: 'object', properties: { a: { $ref: '#/properties/a' } } }],
  [
    '.properties.a.$ref',
    { type: 'object', properties: { a: { $ref: '#/$defs/b' } }, $defs: { b: { $ref: '#/$defs/b' } } },
  ],
];

describe('a schema that cannot be kept to', () => {
  it.each(hostile)('is a 400 that names tools[1].function.parameters%s', async (place, parameters) => {
    for (const choice of ['required', lookup('f')]) {
      const response = await postChat(tiny.origin, {
        tools: [clock, bad(parameters)],
        tool_choice: choice,
        max_tokens: 5,
      });
      const { error } = (await response.json()) as { error: { param: string; message: string } };
      const param = 'tools[1].function.parameters';
      expect([response.status, error.param]).toEqual([400, param]);
      expect(error.message).toContain(param + place);
    }
  });

  it('is a 400 that names tools where all are too long together', async () => {
    const many = Array.from({ length: 100 }, (_, i) => ({
      type: 'function',
      function: { name: `f${i}`, parameters: { type: 'object', description: 'x'.repeat(1000) } },
    }));
    const response = await postChat(tiny.origin, { tools: many, tool_choice: 'required', max_tokens: 5 });
    const { error } = (await response.json()) as { error: { param: string; message: string } };
    expect([response.status, error.param]).toEqual([400, 'tools']);
    expect(error.message).toMatch(/^tools has \d+ characters, at most 65536 are allowed/);
  });
});
