/** The HTTP surface as a function, with no socket. */
import { EngineError } from '@quire/core';
import OpenAI from 'openai';
import { describe, expect, it } from 'vitest';
import { type AppOptions, createApp } from '../../packages/server/src/app/create-app.ts';
import { until } from '../support/until.ts';
import { characterTokenizer, FakeEngine, pieces, type Script } from './fake-engine.ts';

const ORIGIN = 'http://quire.invalid';

function start(script: Script, options: Partial<AppOptions> = {}) {
  const engine = new FakeEngine(script);
  return { engine, app: createApp({ engine, tokenizer: characterTokenizer }, { modelNames: ['fake'], ...options }) };
}

function post(fields: object, init: RequestInit = {}): Request {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ prompt: 'p', ...fields });
  return new Request(`${ORIGIN}/v1/completions`, { method: 'POST', headers, body, ...init });
}

const endless: Script = request => pieces(request, 1e6, 'x', 1);

describe('createApp(engine).fetch', () => {
  it('serves the official client, whole and streamed', async () => {
    const { app } = start(request => pieces(request, 3, 'ab', 0));
    const client = new OpenAI({
      baseURL: `${ORIGIN}/v1`,
      apiKey: 'none',
      maxRetries: 0,
      fetch: async (url, init) => app.fetch(new Request(url, init as RequestInit)),
    });
    const messages = [{ role: 'user' as const, content: 'hi' }];
    const whole = await client.chat.completions.create({ model: 'fake', messages });
    expect(whole.choices[0]).toMatchObject({ message: { content: 'ababab' }, finish_reason: 'stop' });
    const options = { include_usage: true };
    const stream = await client.chat.completions.create({
      model: 'fake',
      messages,
      stream: true,
      stream_options: options,
    });
    let text = '';
    let usage: unknown;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe('ababab');
    expect(usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 6 });
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['fake']);
  });

  it('answers with status, shape and id', async () => {
    const { app } = start(endless, { maxBodyBytes: 100 });
    const get = (path: string, method = 'GET') => app.fetch(new Request(ORIGIN + path, { method }));
    expect((await get('/health')).status).toBe(200);
    expect((await get('/v1/models/fake?x=1')).headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/);
    expect((await get('/nowhere')).status).toBe(404);
    expect((await get('/metrics')).status).toBe(404);
    expect((await get('/v1/completions')).headers.get('allow')).toBe('POST');
    expect((await app.fetch(post({ echo: 'yes' }))).status).toBe(400);
    expect((await app.fetch(post({ prompt: 'p'.repeat(100) }))).status).toBe(413);
    app.drain();
    expect((await get('/health')).status).toBe(503);
    expect((await app.fetch(post({}))).headers.get('retry-after')).toBe('5');
  });

  it('aborts the request when its stream is left, its signal aborts, or nobody listens any more', async () => {
    const { app, engine } = start(endless);
    const left = await app.fetch(post({ stream: true }));
    const reader = left.body!.getReader();
    await reader.read();
    await reader.cancel();
    await until(() => engine.running === 0);
    const controller = new AbortController();
    const whole = app.fetch(post({}, { signal: controller.signal }));
    await until(() => engine.running === 1);
    controller.abort();
    expect((await whole).status).toBe(499);
    expect(engine.running).toBe(0);
    expect((await app.fetch(post({}, { signal: AbortSignal.abort() }))).status).toBe(499);
    expect(app.context.admission.admitted).toBe(0);
  });

  it('takes no more from the engine than an unread stream may hold, and cuts it off in time', async () => {
    let taken = 0;
    const flood: Script = async function* (request) {
      for await (const piece of pieces(request, 1e6, 'y'.repeat(1000), 0)) {
        taken++;
        yield piece;
      }
    };
    const { app, engine } = start(flood, { maxBufferedBytes: 10_000, slowClientMs: 100 });
    const response = await app.fetch(post({ stream: true }));
    await until(() => engine.running === 0);
    expect(taken).toBeLessThan(30);
    await expect(response.text()).rejects.toThrow();
  });

  it('gives every token to a reader that pauses', async () => {
    const { app } = start(request => pieces(request, 200, 'z'.repeat(100), 0), { maxBufferedBytes: 500 });
    const { body } = await app.fetch(post({ stream: true }));
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of body!) {
      text += decoder.decode(chunk, { stream: true });
      if (text.length < 3000) await new Promise(resolve => setTimeout(resolve, 5));
    }
    expect(text.match(/z/g)?.length).toBe(20_000);
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  it('ends a stream that failed with an error event, then an error', async () => {
    const { app } = start(async function* () {
      yield 'one';
      yield new EngineError('The logits were not finite.');
    });
    const { body } = await app.fetch(post({ stream: true }));
    let text = '';
    const read = async () => {
      for await (const chunk of body!) text += new TextDecoder().decode(chunk);
    };
    await expect(read()).rejects.toThrow('The stream failed');
    expect(text).toContain('data: {"error":{"message":"The logits were not finite."');
    expect(text).not.toContain('[DONE]');
  });
});
