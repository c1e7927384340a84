import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pieces } from './fake-engine.ts';
import { type FakeServer, startFakeServer } from './fake-server.ts';
import { RawClient, rawPost, rawRequest } from './raw-socket.ts';

const COMPLETIONS = '/v1/completions';
const body = JSON.stringify({ prompt: 'abc' });

let fake: FakeServer;
beforeAll(async () => {
  fake = await startFakeServer(request => pieces(request, 3, 'x', 1), { maxBodyBytes: 4096 });
});
afterAll(() => fake.server.close(0));

async function expectError(answer: Promise<{ status: number; body: string }>, status: number, code: string) {
  const { status: found, body: text } = await answer;
  const parsed = JSON.parse(text) as { error: Record<string, unknown> };
  expect(parsed.error).toMatchObject({ code });
  expect(found).toBe(status);
  expect(Object.keys(parsed.error).sort()).toEqual(['code', 'message', 'param', 'type']);
  expect(parsed.error.message).not.toBe('');
}

describe('request bodies', () => {
  it.each([
    ['text that is not JSON', 'hello', 400, 'invalid_json'],
    ['a truncated object', '{"prompt": "a', 400, 'invalid_json'],
    ['two values', '{}{}', 400, 'invalid_json'],
    ['a byte order mark', '\ufeff{"prompt": "a"}', 400, 'invalid_json'],
    ['NaN', '{"prompt": "a", "temperature": NaN}', 400, 'invalid_json'],
    ['nothing', '', 400, 'invalid_json'],
    ['an array', '[1]', 400, 'invalid_json'],
    ['null', 'null', 400, 'invalid_json'],
    ['65 levels', `{"x":${'['.repeat(64)}${']'.repeat(64)}}`, 400, 'json_too_deep'],
    ['unclosed depth', '['.repeat(4000), 400, 'json_too_deep'],
  ])('refuses %s', (_, text, status, code) =>
    expectError(rawRequest(fake.port, ...rawPost(COMPLETIONS, text)), status, code),
  );

  it.each([
    ['a stray continuation byte', [0x80]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a cut sequence', [0xe2, 0x82]],
  ])('refuses %s as UTF-8', (_, bytes) => {
    const bad = new Uint8Array([...new TextEncoder().encode('{"prompt":"'), ...bytes, 0x22, 0x7d]);
    return expectError(rawRequest(fake.port, ...rawPost(COMPLETIONS, bad)), 400, 'invalid_utf8');
  });

  it.each([
    '{"prompt": "a\\u0000b"}',
    '{"prompt": "\\ud800"}',
    `{"prompt": "${'['.repeat(100)}"}`,
    `{"prompt":"a","x":${'['.repeat(63)}${']'.repeat(63)}}`,
  ])('takes %s', async text => {
    const answer = await rawRequest(fake.port, ...rawPost(COMPLETIONS, text));
    expect(answer.body).toContain('"text":"xxx"');
    expect(answer.status).toBe(200);
  });

  it.each([
    ['text/plain', { 'content-type': 'text/plain' }],
    ['another charset', { 'content-type': 'application/json; charset=latin1' }],
    ['a form', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['no type', { 'content-type': '' }],
  ])('refuses %s with 415', (_, headers) =>
    expectError(rawRequest(fake.port, ...rawPost(COMPLETIONS, body, headers)), 415, 'unsupported_media_type'),
  );

  it('takes a charset of utf-8', async () => {
    const headers = { 'content-type': 'application/json; charset="UTF-8"' };
    expect((await rawRequest(fake.port, ...rawPost(COMPLETIONS, body, headers))).status).toBe(200);
  });

  it('refuses an encoded body with 415', () => {
    const request = rawPost(COMPLETIONS, gzipSync(body), { 'content-encoding': 'gzip' });
    return expectError(rawRequest(fake.port, ...request), 415, 'unsupported_encoding');
  });

  it('refuses an announced body above the limit before reading it', () => {
    const head = `POST ${COMPLETIONS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10000000000\r\n\r\n`;
    return expectError(rawRequest(fake.port, head), 413, 'body_too_large');
  });

  it('refuses a chunked body once it is above the limit, and stops reading', async () => {
    const head = `POST ${COMPLETIONS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`;
    const client = new RawClient(fake.port).send(head);
    const chunk = `${(1024).toString(16)}\r\n${'x'.repeat(1024)}\r\n`;
    const timer = setInterval(() => client.socket.writable && client.send(chunk), 1);
    await client.closed;
    clearInterval(timer);
    await expectError(Promise.resolve(client.answer), 413, 'body_too_large');
    expect(client.answer.headers.toLowerCase()).toContain('connection: close');
  });

  it('takes a body of exactly the limit', async () => {
    const padding = 4096 - JSON.stringify({ prompt: 'abc', user: '' }).length;
    const text = JSON.stringify({ prompt: 'abc', user: 'u'.repeat(padding) });
    expect((await rawRequest(fake.port, ...rawPost(COMPLETIONS, text))).status).toBe(200);
    await expectError(rawRequest(fake.port, ...rawPost(COMPLETIONS, `${text} `)), 413, 'body_too_large');
  });
});

describe('a request that is refused before its body is read', () => {
  let full: FakeServer;
  beforeAll(async () => {
    full = await startFakeServer(request => pieces(request, 1, 'x', 1), { apiKeys: ['key'] });
  });
  afterAll(() => full.server.close(0));

  /** Two on one connection: the head of the first is answered before its body comes. */
  async function twice(length: number): Promise<RawClient> {
    const [head, bytes] = rawPost(COMPLETIONS, 'x'.repeat(length), { connection: 'keep-alive' });
    const client = new RawClient(full.port).send(head!);
    await client.until('invalid_api_key');
    return client.send(bytes!, ...rawPost(COMPLETIONS, body, { authorization: 'Bearer key' }));
  }

  it('keeps its connection when little of it is left', async () => {
    const client = await twice(60_000);
    await client.closed;
    expect(client.received).toMatch(/^HTTP\/1\.1 401 [\s\S]*HTTP\/1\.1 200 /);
    expect(client.answer.headers.toLowerCase()).not.toContain('connection: close');
  });

  it('loses it when much is left, after the answer', async () => {
    const client = await twice(70_000);
    await client.closed;
    expect(client.received).toMatch(/^HTTP\/1\.1 401 /);
    expect(client.received).not.toContain('HTTP/1.1 200');
    expect(client.answer.headers.toLowerCase()).toContain('connection: close');
  });
});

describe.concurrent('a client that sends slowly', () => {
  it.each([
    ['nothing', ''],
    ['half a head', 'POST /v1/completions HTTP/1.1\r\nhost: local'],
  ])('is cut off after %s', async (_, start) => {
    const opened = performance.now();
    const client = new RawClient(fake.port).send(...(start === '' ? [] : [start]));
    await client.closed;
    expect(client.received).toMatch(/^HTTP\/1\.1 408/);
    expect(performance.now() - opened).toBeGreaterThan(9_000);
    // Ten seconds and what a busy machine adds; without a limit of its own a server of Node waits for sixty.
    expect(performance.now() - opened).toBeLessThan(45_000);
  });
});

describe('routes', () => {
  const get = (target: string, method = 'GET') =>
    rawRequest(fake.port, `${method} ${target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`);

  it('answers 404 in the shape of an error', () => expectError(get('/v2/models'), 404, 'not_found'));

  it.each(['//v1/models', '/v1/../v1/models', '/v1/models/', '/V1/models', '/v1%2fmodels'])(
    'does not collapse %s',
    target => expectError(get(target), 404, 'not_found'),
  );

  it('answers 405 with what is allowed', async () => {
    const answer = get(COMPLETIONS);
    await expectError(answer, 405, 'method_not_allowed');
    expect((await answer).headers.toLowerCase()).toContain('allow: post');
    await expectError(get('/v1/models', 'DELETE'), 405, 'method_not_allowed');
  });

  it('takes absolute targets and queries', async () => {
    expect((await get('http://localhost/v1/models?x=1')).status).toBe(200);
    expect((await get('/health?x')).status).toBe(200);
  });

  it('serves a page at the root that shows a request', async () => {
    const answer = await get('/');
    expect(answer.body).toContain('/v1/chat/completions');
    expect(answer.headers).toContain('text/html');
  });

  it('sends the id of the request', async () =>
    expect((await get('/health')).headers).toMatch(/x-request-id: [0-9a-f]{32}/i));

  it('refuses a foreign Host: a page that rebinds its name cannot read answers', () =>
    expectError(
      rawRequest(fake.port, 'GET /v1/models HTTP/1.1\r\nhost: evil.example:8000\r\nconnection: close\r\n\r\n'),
      403,
      'host_not_allowed',
    ));
});

describe('API keys', () => {
  let guarded: FakeServer;
  beforeAll(async () => {
    guarded = await startFakeServer(request => pieces(request, 1, 'x', 1), { apiKeys: ['first', 'second'] });
  });
  afterAll(() => guarded.server.close(0));

  it('guards every route but those of probes', async () => {
    for (const path of guarded.app.routes.paths) {
      const target = path.replace('*', 'fake');
      const answer = await rawRequest(guarded.port, `GET ${target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n`);
      expect([path, answer.status]).toEqual([path, ['/health', '/live'].includes(path) ? 200 : 401]);
    }
  });

  it.each([
    '/health/../v1/models',
    '//v1/models',
    'http://x/health/../v1/models',
    '/health%2f..%2fv1%2fmodels',
    '/health/',
  ])('is not passed by %s', async target => {
    const answer = await rawRequest(guarded.port, `GET ${target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n`);
    expect(answer.status).toBe(401);
  });

  it.each([
    ['Bearer second', 200],
    ['bearer first', 200],
    ['Bearer third', 401],
    ['Bearer ', 401],
    ['Bearer firs', 401],
    ['Basic first', 401],
    ['first', 401],
  ])('answers "%s" with %i', async (authorization, status) => {
    const response = await fetch(`${guarded.origin}/v1/models`, { headers: { authorization } });
    expect(response.status).toBe(status);
    if (status === 401) expect(await response.json()).toMatchObject({ error: { code: 'invalid_api_key' } });
  });
});
