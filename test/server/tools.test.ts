/** Tools in chat: what requests may say, and what becomes of a model's calls. The model is a script. */
import type { ChatCompletionMessage } from 'openai/resources/chat/completions';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { characterTokenizer } from './fake-engine.ts';
import { clock, postChat, type Scripted, startScripted, weather } from './tool-requests.ts';

let scripted: Scripted;
beforeAll(async () => {
  scripted = await startScripted();
});
afterAll(() => scripted.server.close(0));

const messages = [{ role: 'user' as const, content: 'Is it dry?' }];
const tools = [weather, clock];
const call = (name: string, args: string) => `<tool_call>\n{"name": "${name}", "arguments": ${args}}\n</tool_call>`;

type Choice = { message: ChatCompletionMessage; finish_reason: string | null };

function functionsOf(calls: ChatCompletionMessage['tool_calls']) {
  return calls?.map(c => (c.type === 'function' ? { name: c.function.name, arguments: c.function.arguments } : null));
}

/** The answer whole and streamed, which must agree but for ids. */
async function answer(server: Scripted, text: string, fields: object = {}): Promise<Choice> {
  server.say(text);
  const request = { model: 'fake', messages, tools, ...fields };
  const whole = await server.client.chat.completions.create(request);
  const [choice] = whole.choices;
  for (const size of [1, 7, 1000]) {
    server.say(text, size);
    const stream = server.client.chat.completions.stream(request);
    const { choices } = await stream.finalChatCompletion();
    const { content, tool_calls: calls } = choices[0]!.message;
    expect(content || null).toBe(choice!.message.content || null);
    expect(functionsOf(calls)).toEqual(functionsOf(choice!.message.tool_calls));
    expect(choices[0]!.finish_reason).toBe(choice!.finish_reason);
  }
  return choice!;
}

const functions = ({ message }: Choice) => functionsOf(message.tool_calls);

describe('a model that decides by itself', () => {
  it('calls a tool', async () => {
    const choice = await answer(scripted, call('weather', '{"city": "Oslo", "days": 2}'));
    expect(choice.finish_reason).toBe('tool_calls');
    expect(choice.message).toMatchObject({ role: 'assistant', content: null });
    expect(functions(choice)).toEqual([{ name: 'weather', arguments: '{"city": "Oslo", "days": 2}' }]);
    expect(choice.message.tool_calls![0]!.id).toMatch(/^chatcmpl-tool-/);
  });

  it('calls several, with text around', async () => {
    const text = `Let me see.\n${call('weather', '{}')}\n${call('clock', '{"a": "é🦊"}')}\nDone.`;
    const choice = await answer(scripted, text);
    expect(choice.message.content).toBe('Let me see.\n\nDone.');
    expect(functions(choice)?.map(f => f?.name)).toEqual(['weather', 'clock']);
    const ids = choice.message.tool_calls!.map(c => c.id);
    expect(new Set(ids).size).toBe(2);
  });

  it('may call one only', async () => {
    const text = call('weather', '{}') + call('clock', '{}');
    const choice = await answer(scripted, text, { parallel_tool_calls: false });
    expect(functions(choice)).toEqual([{ name: 'weather', arguments: '{}' }]);
  });

  it('answers without a call', async () => {
    const choice = await answer(scripted, 'It is <dry>.');
    expect(choice).toMatchObject({ finish_reason: 'stop', message: { content: 'It is <dry>.' } });
    expect(choice.message).not.toHaveProperty('tool_calls');
  });

  it('fails to write a call', async () => {
    const text = `${call('weather', '[1]')} ${call('', '{}')} <tool_call>{"name": "wea`;
    const choice = await answer(scripted, text);
    expect(choice).toMatchObject({ finish_reason: 'stop', message: { content: text } });
  });

  it('is not to call any', async () => {
    const text = call('weather', '{}');
    const choice = await answer(scripted, text, { tool_choice: 'none' });
    expect(choice).toMatchObject({ finish_reason: 'stop', message: { content: text } });
  });

  it('tells names before arguments, as chunks of one call', async () => {
    scripted.say(call('weather', '{"city": "Oslo"}'), 3);
    const stream = await scripted.client.chat.completions.create({ model: 'fake', messages, tools, stream: true });
    const deltas: object[] = [];
    for await (const chunk of stream) deltas.push(...(chunk.choices[0]?.delta.tool_calls ?? []));
    expect(deltas[0]).toMatchObject({ index: 0, type: 'function', function: { name: 'weather' } });
    expect(deltas.slice(1).every(delta => !('id' in delta) && !JSON.stringify(delta).includes('name'))).toBe(true);
    expect(deltas.length).toBeGreaterThan(4);
  });
});

describe('Llama 3', () => {
  let llama: Scripted;
  beforeAll(async () => {
    llama = await startScripted({ toolCallParser: 'llama3_json' });
  });
  afterAll(() => llama.server.close(0));

  it('calls tools', async () => {
    const choice = await answer(
      llama,
      '{"name": "weather", "parameters": {"city": "Oslo"}}; {"name": "clock", "parameters": {}}',
    );
    expect(choice).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } });
    expect(functions(choice)).toEqual([
      { name: 'weather', arguments: '{"city": "Oslo"}' },
      { name: 'clock', arguments: '{}' },
    ]);
  });

  it('answers in JSON', async () => {
    const text = '{"name": "Bob", "parameters": {}}';
    expect(await answer(llama, text)).toMatchObject({ finish_reason: 'stop', message: { content: text } });
  });
});

describe('the chat template', () => {
  it('gets tools, calls, results and reasoning', async () => {
    scripted.say('ok');
    await postChat(scripted.origin, {
      tools,
      messages: [
        { role: 'user', content: 'a' },
        {
          role: 'assistant',
          content: null,
          reasoning_content: 'hm',
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'clock', arguments: '{"a": [1]}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: [{ type: 'text', text: 'noon' }] },
      ],
    });
    expect(scripted.rendered()).toMatchObject({
      options: { tools },
      messages: [
        { role: 'user', content: 'a' },
        {
          role: 'assistant',
          content: '',
          reasoning: 'hm',
          toolCalls: [{ id: 'c1', name: 'clock', arguments: { a: [1] } }],
        },
        { role: 'tool', content: 'noon', toolCallId: 'c1' },
      ],
    });
  });

  it('gets tools that are not to be called', async () => {
    await postChat(scripted.origin, { tools, tool_choice: 'none' });
    expect(scripted.rendered().options.tools).toEqual(tools);
    await postChat(scripted.origin, {});
    expect(scripted.rendered().options).not.toHaveProperty('tools');
  });
});

const f = (fields: object) => ({ tools: [{ type: 'function', function: fields }] });
const asked = (fields: object) => ({ messages: [{ role: 'assistant', ...fields }] });
const called = (fields: object) => asked({ tool_calls: [{ id: 'a', type: 'function', function: fields }] });
const faults: [param: string, fields: object][] = [
  ['tools', { tools: {} }],
  ['tools', { tools: Array.from({ length: 129 }, (_, i) => ({ type: 'function', function: { name: `f${i}` } })) }],
  ['tools', f({ name: 'f', description: 'x'.repeat(600_000) })],
  ['tools[0]', { tools: [1] }],
  ['tools[0].type', { tools: [{ type: 'web_search' }] }],
  ['tools[0].function', { tools: [{ type: 'function' }] }],
  ['tools[0].function.name', f({})],
  ['tools[0].function.name', f({ name: '' })],
  ['tools[0].function.name', f({ name: 'x'.repeat(257) })],
  ['tools[0].function.description', f({ name: 'f', description: 1 })],
  ['tools[0].function.parameters', f({ name: 'f', parameters: 'object' })],
  ['tools[0].function.parameters', f({ name: 'f', parameters: [] })],
  ['tools[0].function.parameters.type', f({ name: 'f', parameters: { type: 'string' } })],
  ['tools[0].function.strict', f({ name: 'f', strict: 'yes' })],
  ['tools[1].function.name', { tools: [clock, clock] }],
  ['tool_choice', { tool_choice: 'required' }],
  ['tool_choice', { tool_choice: clock }],
  ['tool_choice', { tools, tool_choice: 'always' }],
  ['tool_choice', { tools, tool_choice: 5 }],
  ['tool_choice', { tools, tool_choice: { type: 'allowed_tools' } }],
  ['tool_choice.function.name', { tools, tool_choice: { type: 'function' } }],
  ['tool_choice.function.name', { tools, tool_choice: { type: 'function', function: { name: 'g' } } }],
  ['parallel_tool_calls', { tools, parallel_tool_calls: 'no' }],
  ['response_format', { tools, tool_choice: 'required', response_format: { type: 'json_object' } }],
  ['functions', { functions: [{ name: 'f' }] }],
  ['function_call', { function_call: { name: 'f' } }],
  ['messages[0].role', { messages: [{ role: 'function', name: 'f', content: 'a' }] }],
  ['messages[0].tool_calls', asked({ tool_calls: {} })],
  ['messages[0].tool_calls', asked({ tool_calls: Array.from({ length: 129 }, () => ({})) })],
  ['messages[0].tool_calls', { messages: [{ role: 'user', content: 'a', tool_calls: [{}] }] }],
  ['messages[0].tool_calls[0]', asked({ tool_calls: [1] })],
  ['messages[0].tool_calls[0].id', asked({ tool_calls: [{ function: { name: 'f' } }] })],
  ['messages[0].tool_calls[0].type', asked({ tool_calls: [{ id: 'a', type: 'custom' }] })],
  ['messages[0].tool_calls[0].function', asked({ tool_calls: [{ id: 'a' }] })],
  ['messages[0].tool_calls[0].function.name', called({})],
  ['messages[0].tool_calls[0].function.arguments', called({ name: 'f', arguments: {} })],
  ['messages[0].tool_calls[0].function.arguments', called({ name: 'f', arguments: '{' })],
  ['messages[0].tool_calls[0].function.arguments', called({ name: 'f', arguments: '[1]' })],
  ['messages[0].tool_call_id', { messages: [{ role: 'tool', content: 'a', tool_call_id: 5 }] }],
  ['messages[0].content', asked({ content: null })],
  ['messages[0].reasoning', asked({ content: 'a', reasoning: 5 })],
];

describe('a request with a fault', () => {
  it.each(faults)('is a 400 that names %s', async (param, fields) => {
    const response = await postChat(scripted.origin, fields);
    const { error } = (await response.json()) as { error: { param: string; message: string; type: string } };
    expect([response.status, error.param, error.type]).toEqual([400, param, 'invalid_request_error']);
    expect(error.message).toContain(param.split('[')[0]);
    expect(error.message.length).toBeLessThan(300);
  });
});

describe('what a server does not offer', () => {
  it('is refused: tools that the template would leave out', async () => {
    const tokenizer = { ...characterTokenizer, chatTemplate: { source: '', names: new Set(['messages']) } };
    const plain = await startScripted({ tokenizer });
    const refused = (await (await postChat(plain.origin, { tools })).json()) as { error: { param: string } };
    expect(refused.error).toMatchObject({ param: 'tools', message: expect.stringContaining('knows no tools') });
    expect((await postChat(plain.origin, { tools, tool_choice: 'none' })).status).toBe(200);
    await plain.server.close(0);
  });

  it('is refused: calls that nobody looks for', async () => {
    const off = await startScripted({ enableAutoToolChoice: false });
    const refused = (await (await postChat(off.origin, { tools })).json()) as { error: { param: string } };
    expect(refused.error).toMatchObject({
      param: 'tool_choice',
      message: '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set.',
    });
    await off.server.close(0);
  });

  it('is told at the start', async () => {
    const tokenizer = { ...characterTokenizer, chatTemplate: { source: '', names: new Set(['tools']) } };
    await expect(startScripted({ tokenizer, enableAutoToolChoice: true })).rejects.toThrow(/needs tool_call_parser/);
    await expect(startScripted({ toolCallParser: 'hermez' })).rejects.toThrow(/Did you mean "hermes"/);
    await expect(startScripted({ reasoningParser: 'qwen' })).rejects.toThrow(/Did you mean "qwen3"/);
  });
});
