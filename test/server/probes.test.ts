/** What operators, probes and routers ask besides answers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { goldenCase, startTinyServer, type TinyServer } from './tiny-server.ts';

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer({ enableSleepMode: true });
});
afterAll(() => tiny.server.close(0));

const get = (path: string) => fetch(tiny.origin + path);
const post = (path: string, body?: object) =>
  fetch(tiny.origin + path, {
    method: 'POST',
    ...(body ? { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } } : {}),
  });
const capital = goldenCase('capital');
const messages = [{ role: 'user', content: 'What is the capital of Japan?' }];

describe('probes', () => {
  it.each(['/health', '/live', '/ping'])('GET %s', async path => {
    const answer = await get(path);
    expect([answer.status, await answer.text()]).toEqual([200, '']);
  });

  it('POST /ping', async () => expect((await post('/ping')).status).toBe(200));

  it('GET /load counts sequences in progress', async () => {
    expect(await (await get('/load')).json()).toEqual({ server_load: 0 });
    const stream = await post('/v1/completions', {
      prompt: 'a',
      n: 2,
      stream: true,
      max_tokens: 400,
      ignore_eos: true,
    });
    expect(await (await get('/load')).json()).toEqual({ server_load: 2 });
    await stream.body!.cancel();
  });

  it('POST /health is 405', async () => expect((await post('/health')).status).toBe(405));
});

describe('sleep', () => {
  const answer = async () => {
    const body = { messages, temperature: 0 };
    const { choices } = (await (await post('/v1/chat/completions', body)).json()) as {
      choices: { message: { content: string } }[];
    };
    return choices[0]!.message.content;
  };

  it.each(['/sleep', '/sleep?level=1', '/sleep?level=2'])(
    'POST %s: requests wait and are answered after',
    async path => {
      expect((await post(path)).status).toBe(200);
      expect(await (await get('/is_sleeping')).json()).toEqual({ is_sleeping: true });
      const waiting = answer();
      expect(await Promise.race([waiting, new Promise(resolve => setTimeout(() => resolve('waits'), 100))])).toBe(
        'waits',
      );
      expect((await get('/health')).status).toBe(200);
      expect((await post('/wake_up?tags=weights')).headers.get('x-quire-ignored-fields')).toBe('tags');
      expect(await (await get('/is_sleeping')).json()).toEqual({ is_sleeping: false });
      expect(await waiting).toBe(capital.text);
    },
  );

  it.each(['0', '3', 'deep', ''])('level %j is 400', async level => {
    const refused = await post(`/sleep?level=${level}`);
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param: 'level' } }]);
  });

  it('is refused unless the server was started for it', async () => {
    const other = await startTinyServer();
    for (const path of ['/sleep', '/wake_up']) {
      const refused = await fetch(other.origin + path, { method: 'POST' });
      expect([refused.status, await refused.json()]).toMatchObject([403, { error: { code: 'sleep_mode_disabled' } }]);
    }
    await other.server.close(0);
  });
});

describe('/tokenize and /detokenize', () => {
  it.each(['capital', 'hello-chinese', 'arabic', 'one-token', 'unseen-bytes', 'two-turns'])(
    'a prompt: %s',
    async name => {
      const { prompt, promptTokenIds } = goldenCase(name);
      const answer = await (await post('/tokenize', { model: 'tiny', prompt })).json();
      expect(answer).toEqual({
        count: promptTokenIds.length,
        max_model_len: 512,
        tokens: promptTokenIds,
        token_strs: null,
      });
      expect(await (await post('/detokenize', { tokens: promptTokenIds })).json()).toEqual({ prompt });
    },
  );

  it('messages, as the chat route sees them', async () => {
    expect(await (await post('/tokenize', { messages })).json()).toMatchObject({ tokens: capital.promptTokenIds });
    const bare = await (await post('/tokenize', { messages, add_generation_prompt: false })).json();
    expect((bare as { tokens: number[] }).tokens.length).toBeLessThan(capital.promptTokenIds.length);
  });

  it('strings of tokens', async () => {
    const answer = await (await post('/tokenize', { messages, return_token_strs: true })).json();
    const { token_strs: strings } = answer as { token_strs: string[] };
    expect(strings[0]).toBe('<|im_start|>');
    expect(strings.join('')).toBe(capital.prompt);
  });

  it('a text beyond the context, up to a bound', async () => {
    const answer = await (await post('/tokenize', { prompt: '1'.repeat(5000) })).json();
    expect((answer as { count: number }).count).toBeGreaterThan(512);
    expect((await post('/tokenize', { prompt: '1 '.repeat(500_000) })).status).toBe(400);
  });

  it.each<[string, string, object]>([
    ['/tokenize', 'prompt', {}],
    ['/tokenize', 'prompt', { prompt: 5 }],
    ['/tokenize', 'prompt', { prompt: ['a'] }],
    ['/tokenize', 'add_special_tokens', { prompt: 'a', add_special_tokens: 'yes' }],
    ['/tokenize', 'return_token_strs', { prompt: 'a', return_token_strs: 1 }],
    ['/tokenize', 'return_token_strs', { messages, return_token_strs: 1 }],
    ['/tokenize', 'messages', { messages: [] }],
    ['/tokenize', 'messages[0].role', { messages: [{ role: 'x', content: 'a' }] }],
    ['/tokenize', 'chat_template', { messages, chat_template: '{{ 1 }}' }],
    ['/detokenize', 'tokens', {}],
    ['/detokenize', 'tokens', { tokens: 'a' }],
    ['/detokenize', 'tokens', { tokens: [1, -1] }],
    ['/detokenize', 'tokens', { tokens: [1.5] }],
    ['/detokenize', 'tokens', { tokens: [2 ** 31] }],
    ['/detokenize', 'tokens', { tokens: ['1'] }],
  ])('%s names %s in %j', async (path, param, body) => {
    const refused = await post(path, body);
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: { param } }]);
  });

  it('another model is 404', async () => {
    expect((await post('/tokenize', { model: 'other', prompt: 'a' })).status).toBe(404);
    expect((await post('/detokenize', { model: 'other', tokens: [1] })).status).toBe(404);
  });
});

describe('render', () => {
  it('chat: what the engine would get', async () => {
    const before = tiny.server.engine.stats().promptTokens;
    const body = { messages, temperature: 0.5, max_completion_tokens: 7, stop: ['x'], cache_salt: 's', stream: true };
    const answer = await (await post('/v1/chat/completions/render', body)).json();
    expect(answer).toEqual({
      request_id: expect.stringMatching(/^chatcmpl-/),
      model: 'tiny',
      token_ids: capital.promptTokenIds,
      sampling_params: { temperature: 0.5, stop: ['x'], max_tokens: 7 },
      stream: true,
      cache_salt: 's',
      priority: 0,
    });
    expect(tiny.server.engine.stats().promptTokens).toBe(before);
  });

  it('completions: one entry per prompt', async () => {
    const digits = goldenCase('digits');
    const answer = await (await post('/v1/completions/render', { prompt: [digits.prompt, 'The'] })).json();
    expect(answer).toMatchObject([
      { token_ids: digits.promptTokenIds, sampling_params: { max_tokens: 16 } },
      { token_ids: goldenCase('one-token').promptTokenIds },
    ]);
  });

  it('refuses what the routes refuse', async () => {
    expect((await post('/v1/completions/render', { prompt: 'a', max_tokens: 'b' })).status).toBe(400);
    expect((await post('/v1/chat/completions/render', { messages: [] })).status).toBe(400);
    const long = await post('/v1/completions/render', { prompt: '1'.repeat(5000) });
    expect(await long.json()).toMatchObject({ error: { code: 'context_length_exceeded' } });
  });
});
