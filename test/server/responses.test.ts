/** OpenAI's Responses API, over its official client. */
import { EngineError } from '@quire/core';
import OpenAI from 'openai';
import type { ResponseStreamEvent } from 'openai/resources/responses/responses';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ResponseStore } from '../../packages/server/src/responses/store.ts';
import { pieces } from './fake-engine.ts';
import { startFakeServer } from './fake-server.ts';
import { goldenCase, startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
let responses: OpenAI['responses'];
beforeAll(async () => {
  tiny = await startTinyServer();
  ({ responses } = tiny.client);
});
afterAll(() => tiny.server.close(0));

const capital = goldenCase('capital');
const question = 'What is the capital of Japan?';
const ask = (input: string) => ({ model: 'tiny', temperature: 0, input });

async function post(body: object, path = '/v1/responses'): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return fetch(tiny.origin + path, { method: 'POST', headers, body: JSON.stringify(body) });
}

describe('create', () => {
  it('answers', async () => {
    const response = await responses.create({ ...ask(question), metadata: { a: 'b' } });
    expect(response.output_text).toBe(capital.text);
    expect(response).toMatchObject({
      object: 'response',
      status: 'completed',
      model: 'tiny',
      error: null,
      incomplete_details: null,
      metadata: { a: 'b' },
      output: [
        {
          type: 'message',
          role: 'assistant',
          status: 'completed',
          content: [{ type: 'output_text', text: capital.text, annotations: [] }],
        },
      ],
      usage: {
        input_tokens: 22,
        input_tokens_details: { cached_tokens: 0 },
        output_tokens: 11,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: 33,
      },
    });
    expect(response.id).toMatch(/^resp_[0-9a-f]{32}$/);
    const again = await responses.create(ask(question));
    expect(again.usage!.input_tokens_details.cached_tokens).toBe(16);
  });

  it('streams numbered events that add up to the response', async () => {
    const stream = responses.stream(ask('How do you say hello in Chinese?'));
    const events: ResponseStreamEvent[] = [];
    stream.on('event', event => events.push(event));
    const final = await stream.finalResponse();
    expect(final.output_text).toBe('In Chinese, hello is 你好.');
    expect(events.map(event => event.sequence_number)).toEqual(events.map((_, i) => i));
    const types = events.map(event => event.type);
    expect(types.slice(0, 4)).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
    ]);
    expect(types.slice(-4)).toEqual([
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ]);
    expect(new Set(types.slice(4, -4))).toEqual(new Set(['response.output_text.delta']));
    const whole = await responses.retrieve(final.id);
    expect(events.at(-1)).toMatchObject({ response: JSON.parse(JSON.stringify({ ...whole, output_text: undefined })) });
  });

  it('tells that the limit of tokens ended it', async () => {
    for (const stream of [false, true]) {
      const body = { ...ask(question), max_output_tokens: 3 };
      const response = stream ? await responses.stream(body).finalResponse() : await responses.create(body);
      expect(response).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } });
      expect(response.usage!.output_tokens).toBe(3);
    }
  });

  it('takes items, and instructions', async () => {
    const turns = await responses.create({
      model: 'tiny',
      temperature: 0,
      input: [
        { role: 'user', content: 'Hello!' },
        { type: 'message', role: 'assistant', content: 'Hello! How can I help you today?' },
        { role: 'user', content: [{ type: 'input_text', text: 'Count from 3 to 9.' }] },
      ],
    });
    expect(turns.output_text).toBe(goldenCase('two-turns').text);
    const told = await responses.create({ ...ask(question), instructions: 'Be brief.', max_output_tokens: 1 });
    expect(told.instructions).toBe('Be brief.');
    expect(told.usage!.input_tokens).toBeGreaterThan(22);
  });

  it('takes a format', async () => {
    const schema = {
      type: 'object',
      properties: { a: { type: 'boolean' } },
      required: ['a'],
      additionalProperties: false,
    };
    const format = { type: 'json_schema' as const, name: 'answer', schema };
    const response = await responses.create({ ...ask(question), text: { format } });
    expect(Object.keys(JSON.parse(response.output_text))).toEqual(['a']);
  });

  it('gives log-probabilities, the same whole and streamed', async () => {
    const body = { ...ask(question), include: ['message.output_text.logprobs' as const], top_logprobs: 2 };
    const logprobs = ({ output: [item] }: OpenAI.Responses.Response) =>
      item?.type === 'message' && item.content[0]?.type === 'output_text' ? item.content[0].logprobs : [];
    const whole = logprobs(await responses.create(body))!;
    expect(whole.length).toBe(capital.tokenIds.length);
    for (const [i, entry] of whole.entries()) expect(entry.logprob).toBeCloseTo(capital.tokenLogprobs[i]!, 3);
    expect(logprobs(await responses.stream(body).finalResponse())).toEqual(whole);
  });

  it('passes on sampling fields of vLLM', async () => {
    const fields = { ...ask('Tell me a story.'), temperature: 1.5, max_output_tokens: 8, ignore_eos: true };
    const run = async (seed: number) => {
      const answer = (await (await post({ ...fields, seed })).json()) as OpenAI.Responses.Response;
      return answer.output;
    };
    const text = (output: unknown) => JSON.stringify(output).match(/"text":"[^"]*"/)?.[0];
    expect(text(await run(7))).toBe(text(await run(7)));
    expect(text(await run(7))).not.toBe(text(await run(8)));
  });
});

describe('the store', () => {
  it('continues a conversation, without handing down instructions', async () => {
    const first = await responses.create({ ...ask('Hello!'), instructions: 'Be kind.' });
    const next = await responses.create({ ...ask('Count from 3 to 9.'), previous_response_id: first.id });
    expect(next.previous_response_id).toBe(first.id);
    const spelled = await responses.create({
      model: 'tiny',
      temperature: 0,
      input: [
        { role: 'user', content: 'Hello!' },
        { role: 'assistant', content: first.output_text },
        { role: 'user', content: 'Count from 3 to 9.' },
      ],
    });
    expect(next.output_text).toBe(spelled.output_text);
    expect(next.usage!.input_tokens).toBe(spelled.usage!.input_tokens);
  });

  it('gives, lists and deletes', async () => {
    const made = await responses.create(ask(question));
    expect(await responses.retrieve(made.id)).toEqual(made);
    const { data, has_more: more } = await responses.inputItems.list(made.id);
    expect(data).toMatchObject([{ type: 'message', role: 'user', content: [{ type: 'input_text', text: question }] }]);
    expect(more).toBe(false);
    await responses.delete(made.id);
    await expect(responses.retrieve(made.id)).rejects.toThrow(OpenAI.NotFoundError);
    await expect(responses.create({ ...ask('a'), previous_response_id: made.id })).rejects.toThrow(
      OpenAI.NotFoundError,
    );
  });

  it('pages through items', async () => {
    const input = ['a', 'b', 'c'].map(content => ({ role: 'user' as const, content }));
    const { id } = await responses.create({ model: 'tiny', input, max_output_tokens: 1 });
    const texts = [];
    for await (const item of responses.inputItems.list(id, { limit: 2, order: 'asc' })) {
      texts.push((item as { content: { text: string }[] }).content[0]!.text);
    }
    expect(texts).toEqual(['a', 'b', 'c']);
    for (const query of ['limit=0', 'limit=x', 'order=up']) {
      const refused = await fetch(`${tiny.origin}/v1/responses/${id}/input_items?${query}`);
      expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param: query.split('=')[0] } }]);
    }
  });

  it('keeps nothing with store: false', async () => {
    const made = await responses.create({ ...ask(question), store: false });
    await expect(responses.retrieve(made.id)).rejects.toThrow(OpenAI.NotFoundError);
  });

  it('cancels a response that is streamed, and no other', async () => {
    const done = await responses.create(ask(question));
    await expect(responses.cancel(done.id)).rejects.toThrow('completed');
    const body = { ...ask('Tell me a story.'), stream: true as const, max_output_tokens: 400 };
    const stream = await responses.create({ ...body, ...{ ignore_eos: true } });
    let id = '';
    const read = async () => {
      for await (const event of stream) {
        if (event.type === 'response.created') ({ id } = event.response);
        if (event.type !== 'response.output_text.delta' || id === '') continue;
        await expect(responses.retrieve(id)).resolves.toMatchObject({ status: 'in_progress' });
        expect((await responses.cancel(id)).status).toBe('cancelled');
      }
    };
    await expect(read()).rejects.toThrow();
    expect(await responses.retrieve(id)).toMatchObject({ status: 'cancelled' });
  });

  it('goes on in the background, and is asked for by its id', async () => {
    const settled = async (id: string) => {
      let response = await responses.retrieve(id);
      while (response.status === 'in_progress') {
        await new Promise(resolve => setTimeout(resolve, 20));
        response = await responses.retrieve(id);
      }
      return response;
    };
    const begun = await responses.create({ ...ask(question), background: true });
    expect(begun).toMatchObject({ status: 'in_progress', background: true, output: [], usage: null });
    const response = await settled(begun.id);
    expect(response).toMatchObject({ id: begun.id, status: 'completed', background: true });
    expect(response.output.flatMap(item => (item.type === 'message' ? item.content : []))).toMatchObject([
      { type: 'output_text', text: capital.text },
    ]);
    const long = await responses.create({
      ...ask('Tell me a story.'),
      ...{ background: true, ignore_eos: true },
      max_output_tokens: 400,
    });
    expect((await responses.cancel(long.id)).status).toBe('cancelled');
    expect((await settled(long.id)).status).toBe('cancelled');
  });

  it('streams in the background: the client may leave', async () => {
    const stream = await responses.create({ ...ask(question), background: true, stream: true });
    let id = '';
    for await (const event of stream) {
      if (event.type === 'response.created') ({ id } = event.response);
      if (event.type === 'response.output_text.delta') break;
    }
    let response = await responses.retrieve(id);
    while (response.status === 'in_progress') response = await responses.retrieve(id);
    expect(response.status).toBe('completed');
  });

  it('forgets the oldest beyond its bounds', () => {
    const entry = (id: string, text: string) => ({
      id,
      body: { status: 'completed', output: [], text },
      input: [],
      conversation: [],
    });
    const few = new ResponseStore(2, 1e6);
    for (const id of ['a', 'b', 'c']) few.put(entry(id, ''));
    expect([few.has('a'), few.has('b'), few.has('c'), few.size]).toEqual([false, true, true, 2]);
    const small = new ResponseStore(100, 1000);
    for (const id of ['a', 'b', 'c']) small.put(entry(id, 'x'.repeat(600)));
    expect([small.has('a'), small.has('b'), small.has('c')]).toEqual([false, false, true]);
  });
});

describe('what is refused', () => {
  it.each<[string, object]>([
    ['input', { input: undefined }],
    ['input', { input: [] }],
    ['input', { input: 5 }],
    ['input[0].role', { input: [{ role: 'wizard', content: 'a' }] }],
    ['input[0].content', { input: [{ role: 'user', content: 5 }] }],
    ['input[0].content[0].type', { input: [{ role: 'user', content: [{ type: 'input_image' }] }] }],
    ['input[0].content[0].text', { input: [{ role: 'user', content: [{ type: 'input_text' }] }] }],
    ['input[0].type', { input: [{ type: 'item_reference', id: 'a' }] }],
    ['input[0].call_id', { input: [{ type: 'function_call' }] }],
    ['max_output_tokens', { max_output_tokens: 0 }],
    ['max_output_tokens', { max_output_tokens: 513 }],
    ['instructions', { instructions: 5 }],
    ['temperature', { temperature: 3 }],
    ['top_p', { top_p: 0 }],
    ['n', { n: 2 }],
    ['include', { include: ['web_search_call.results'] }],
    ['top_logprobs', { top_logprobs: 3 }],
    ['text.format.type', { text: { format: { type: 5 } } }],
    ['text.format', { text: { format: { type: 'xml' } } }],
    ['text.format', { text: { format: { type: 'json_schema', name: 'a', schema: { type: 'wizard' } } } }],
    ['tools[0].type', { tools: [{ type: 'web_search' }] }],
    ['tools[0].name', { tools: [{ type: 'function' }] }],
    ['tool_choice.type', { tools: [{ type: 'function', name: 'f' }], tool_choice: { type: 'file_search' } }],
    ['background', { background: true, store: false }],
    ['background', { background: 1 }],
    ['conversation', { conversation: 'conv_1' }],
    ['prompt', { prompt: { id: 'a' } }],
    ['truncation', { truncation: 'auto' }],
    ['stream', { stream: 'yes' }],
    ['store', { store: 1 }],
    ['metadata.a', { metadata: { a: 1 } }],
  ])('%s in %j', async (param, fields) => {
    const refused = await post({ ...ask('a'), max_output_tokens: 1, ...fields });
    const { error } = (await refused.json()) as { error: { param: string; message: string } };
    expect([refused.status, error.param]).toEqual([400, param]);
    expect(error.message).toContain(param.split(/[.[]/)[0]!);
  });

  it('an input beyond the context', async () => {
    const refused = await post(ask('1'.repeat(5000)));
    const error = { param: 'input', code: 'context_length_exceeded' };
    expect([refused.status, await refused.json()]).toMatchObject([400, { error }]);
  });

  it('an id that is unknown', async () => {
    const expected = { error: { code: 'response_not_found', param: 'response_id' } };
    for (const [method, path] of [
      ['GET', ''],
      ['DELETE', ''],
      ['POST', '/cancel'],
      ['GET', '/input_items'],
    ]) {
      const answer = await fetch(`${tiny.origin}/v1/responses/resp_1${path}`, { method: method! });
      expect([method, path, answer.status, await answer.json()]).toMatchObject([method, path, 404, expected]);
    }
  });
});

it('a stream that fails ends with an error event, and is stored as failed', async () => {
  const fake = await startFakeServer(async function* (request) {
    yield* pieces(request, 2, 'x', 0);
    yield new EngineError('The logits were not finite.');
  });
  const client = new OpenAI({ baseURL: `${fake.origin}/v1`, apiKey: 'none', maxRetries: 0 });
  let id = '';
  const stream = client.responses.stream({ model: 'fake', input: 'a' });
  stream.on('event', event => {
    if (event.type === 'response.created') ({ id } = event.response);
  });
  await expect(stream.finalResponse()).rejects.toThrow('The logits were not finite.');
  expect(await client.responses.retrieve(id)).toMatchObject({
    status: 'failed',
    error: { message: 'The logits were not finite.' },
    output: [{ status: 'incomplete', content: [{ text: 'xx' }] }],
  });
  await fake.server.close(0);
});
