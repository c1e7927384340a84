/** Anthropic's API, over its official client. */
import Anthropic from '@anthropic-ai/sdk';
import { EngineError } from '@quire/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pieces } from './fake-engine.ts';
import { startFakeServer } from './fake-server.ts';
import { rawPost, rawRequest } from './raw-socket.ts';
import { goldenCase, startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
let client: Anthropic;
beforeAll(async () => {
  tiny = await startTinyServer();
  client = new Anthropic({ baseURL: tiny.origin, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => tiny.server.close(0));

const capital = goldenCase('capital');
const question = 'What is the capital of Japan?';
const ask = (content: string) => ({
  model: 'tiny',
  max_tokens: 40,
  temperature: 0,
  messages: [{ role: 'user' as const, content }],
});

async function post(body: object, path = '/v1/messages'): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return fetch(tiny.origin + path, { method: 'POST', headers, body: JSON.stringify(body) });
}

describe('/v1/messages', () => {
  it('answers', async () => {
    const message = await client.messages.create(ask(question));
    expect(message).toMatchObject({
      type: 'message',
      role: 'assistant',
      model: 'tiny',
      content: [{ type: 'text', text: capital.text }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 22, output_tokens: 11, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
    });
    expect(message.id).toMatch(/^msg_[0-9a-f]{32}$/);
  });

  it('tells cached tokens apart', async () => {
    const { usage } = await client.messages.create(ask(question));
    expect(usage).toMatchObject({ input_tokens: 6, cache_read_input_tokens: 16 });
  });

  it('streams events from message_start to message_stop', async () => {
    const types: string[] = [];
    const stream = client.messages.stream(ask('How do you say hello in Chinese?'));
    stream.on('streamEvent', event => types.push(event.type));
    const message = await stream.finalMessage();
    expect(message.content).toEqual([{ type: 'text', text: 'In Chinese, hello is 你好.' }]);
    expect(message).toMatchObject({ stop_reason: 'end_turn', usage: { output_tokens: 14 } });
    expect(types.slice(0, 3)).toEqual(['message_start', 'content_block_start', 'content_block_delta']);
    expect(types.slice(-3)).toEqual(['content_block_stop', 'message_delta', 'message_stop']);
    expect(new Set(types.slice(2, -3))).toEqual(new Set(['content_block_delta']));
  });

  it('writes each event with its name, and nothing after message_stop', async () => {
    const text = await (await post({ ...ask(question), stream: true })).text();
    for (const event of text.trimEnd().split('\n\n')) {
      const [name, data] = event.split('\n');
      expect(name).toBe(`event: ${JSON.parse(data!.slice('data: '.length)).type}`);
    }
    expect(text.endsWith('data: {"type":"message_stop"}\n\n')).toBe(true);
  });

  it.each([false, true])('stops at a sequence, and at the limit (streamed: %s)', async streamed => {
    const run = async (fields: object): Promise<Anthropic.Message> => {
      const body = { ...ask(question), ...fields };
      return streamed
        ? client.messages.stream(body).finalMessage()
        : client.messages.create({ ...body, stream: false });
    };
    expect(await run({ stop_sequences: [' Japan', 'zzz'] })).toMatchObject({
      content: [{ type: 'text', text: 'The capital of' }],
      stop_reason: 'stop_sequence',
      stop_sequence: ' Japan',
    });
    expect(await run({ max_tokens: 3 })).toMatchObject({ stop_reason: 'max_tokens', usage: { output_tokens: 3 } });
  });

  it('takes blocks, turns, a system text, and the beginning of an answer', async () => {
    const turns = await client.messages.create({
      ...ask(''),
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Hello!', cache_control: { type: 'ephemeral' } }] },
        { role: 'assistant', content: [{ type: 'text', text: 'Hello! How can I help you today?' }] },
        { role: 'user', content: 'Count from 3 to 9.' },
      ],
    });
    expect(turns.content).toEqual([{ type: 'text', text: goldenCase('two-turns').text }]);
    const begun = await client.messages.create({
      ...ask(question),
      messages: [...ask(question).messages, { role: 'assistant', content: 'The capital' }],
    });
    expect(begun.content).toEqual([{ type: 'text', text: capital.text.slice('The capital'.length) }]);
    const count = async (system: Anthropic.MessageCreateParams['system']) => {
      const { usage } = await client.messages.create({
        ...ask(question),
        ...(system ? { system } : {}),
        max_tokens: 1,
      });
      return usage.input_tokens + usage.cache_read_input_tokens!;
    };
    expect(await count('Be brief.')).toBeGreaterThan(await count(undefined));
    expect(await count([{ type: 'text', text: 'Be brief.' }])).toBe(await count('Be brief.'));
  });

  it('counts tokens', async () => {
    const { messages } = ask(question);
    expect(await client.messages.countTokens({ model: 'tiny', messages })).toEqual({ input_tokens: 22 });
  });

  it('lists fields without effect', async () => {
    const answer = await post({ ...ask(question), metadata: { user_id: 'u' }, unheard_of: 1 });
    expect(answer.headers.get('x-quire-ignored-fields')).toBe('metadata, unheard_of');
  });

  const text = { type: 'text', text: 'a' };
  it.each<[string, object]>([
    ['max_tokens', { max_tokens: undefined }],
    ['max_tokens', { max_tokens: 0 }],
    ['max_tokens', { max_tokens: 513 }],
    ['messages', { messages: [] }],
    ['messages', { messages: 'a' }],
    ['messages', { messages: [{ role: 'user', content: '1'.repeat(5000) }] }],
    ['messages[0].role', { messages: [{ role: 'system', content: 'a' }] }],
    ['messages[0].content', { messages: [{ role: 'user', content: 5 }] }],
    ['messages[0].content', { messages: [{ role: 'user', content: [] }] }],
    ['messages[0].content[1].type', { messages: [{ role: 'user', content: [text, { type: 'image' }] }] }],
    ['messages[0].content[0].text', { messages: [{ role: 'user', content: [{ type: 'text' }] }] }],
    ['messages[0].content[0].tool_use_id', { messages: [{ role: 'user', content: [{ type: 'tool_result' }] }] }],
    ['messages[0].content[0].id', { messages: [{ role: 'assistant', content: [{ type: 'tool_use' }] }] }],
    ['system', { system: 5 }],
    ['system[0].type', { system: [{ type: 'image' }] }],
    ['stop_sequences', { stop_sequences: 'a' }],
    ['stop_sequences[0]', { stop_sequences: [''] }],
    ['temperature', { temperature: 'hot' }],
    ['temperature', { temperature: 3 }],
    ['top_k', { top_k: -1 }],
    ['top_p', { top_p: 2 }],
    ['stream', { stream: 'yes' }],
    ['thinking.type', { thinking: { type: 'hard' } }],
    ['container', { container: 'c' }],
    ['tools[0].name', { tools: [{ input_schema: {} }] }],
    ['tools[0].type', { tools: [{ type: 'web_search_20250305', name: 'w' }] }],
    ['tool_choice.type', { tool_choice: { type: 'some' } }],
  ])('names %s in %j', async (param, fields) => {
    const answer = await post({ ...ask(question), ...fields });
    expect([answer.status, await answer.json()]).toMatchObject([
      400,
      { type: 'error', error: { type: 'invalid_request_error', param, message: expect.any(String) } },
    ]);
  });

  it('makes the client throw typed errors', async () => {
    await expect(client.messages.create({ ...ask(question), model: 'other' })).rejects.toThrow(Anthropic.NotFoundError);
    await expect(client.messages.create({ ...ask(question), max_tokens: 0 })).rejects.toThrow(
      Anthropic.BadRequestError,
    );
  });
});

describe('a stream that fails', () => {
  it('ends with an error event and a destroyed connection', async () => {
    const fake = await startFakeServer(async function* () {
      yield 'one';
      yield new EngineError('The logits were not finite.');
    });
    const body = { max_tokens: 5, messages: [{ role: 'user', content: 'a' }], stream: true };
    const answer = await rawRequest(fake.port, ...rawPost('/v1/messages', JSON.stringify(body)));
    expect(answer.body).toContain('event: error\ndata: {"type":"error","error":{"type":"api_error"');
    expect(answer.body).not.toContain('message_stop');
    expect(answer.body).not.toMatch(/\r\n0\r\n/);
    const other = new Anthropic({ baseURL: fake.origin, apiKey: 'none', maxRetries: 0 });
    const stream = other.messages.stream({ model: 'fake', max_tokens: 5, messages: [{ role: 'user', content: 'a' }] });
    await expect(stream.finalMessage()).rejects.toThrow('The logits were not finite.');
    await fake.server.close(0);
  });
});

it('takes the key of the client', async () => {
  const fake = await startFakeServer(request => pieces(request, 1, 'x', 0), { apiKeys: ['secret'] });
  const ask = (apiKey: string) =>
    new Anthropic({ baseURL: fake.origin, apiKey, maxRetries: 0 }).messages.create({
      model: 'fake',
      max_tokens: 5,
      messages: [{ role: 'user', content: 'a' }],
    });
  expect((await ask('secret')).content).toEqual([{ type: 'text', text: 'x' }]);
  await expect(ask('guess')).rejects.toThrow(Anthropic.AuthenticationError);
  await fake.server.close(0);
});
