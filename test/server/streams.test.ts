import { EngineError } from '@quire/core';
import OpenAI from 'openai';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { until } from '../support/until.ts';
import { type FakeRequest, pieces, type Script } from './fake-engine.ts';
import { type FakeServer, startFakeServer } from './fake-server.ts';
import { RawClient, rawPost, rawRequest } from './raw-socket.ts';
import { startTinyServer } from './tiny-server.ts';

const servers: FakeServer[] = [];
async function start(script: Script, options: Parameters<typeof startFakeServer>[1] = {}): Promise<FakeServer> {
  const fake = await startFakeServer(script, options);
  servers.push(fake);
  return fake;
}
afterEach(async () => {
  for (const { server } of servers.splice(0)) {
    server.abort();
    await server.close(0);
  }
});

const post = (fields: object) => rawPost('/v1/completions', JSON.stringify({ prompt: 'p', ...fields }));
const openAi = ({ origin }: FakeServer) => new OpenAI({ baseURL: `${origin}/v1`, apiKey: 'none', maxRetries: 0 });

describe('a client that leaves', () => {
  const leave: Record<string, (client: RawClient) => void> = {
    FIN: client => client.socket.destroy(),
    RST: client => client.socket.resetAndDestroy(),
    'a half-close': client => client.socket.end(),
  };
  const cases = Object.keys(leave).flatMap(how => [true, false].map(stream => [how, stream] as const));

  it.each(cases)('by %s aborts its request (stream: %s)', async (how, stream) => {
    const fake = await start(request => pieces(request, 1e6, 'x', 5));
    const client = new RawClient(fake.port, true).send(...post({ stream }));
    await until(() => fake.engine.running === 1);
    if (stream) await client.until('"text":"x"');
    leave[how]!(client);
    await until(() => fake.engine.running === 0);
    expect(fake.engine.requests[0]!.signal?.aborted).toBe(true);
    client.socket.destroy();
  });

  it.each([
    ['whole', false, /^HTTP\/1\.1 499 /],
    ['begun', true, /^HTTP\/1\.1 200 .*"text":"x"/s],
  ])('and closes its own side alone is told why its answer is not %s', async (_, stream, head) => {
    const fake = await start(request => pieces(request, 1e6, 'x', 5));
    const client = new RawClient(fake.port, true).send(...post({ stream }));
    if (stream) await client.until('"text":"x"');
    client.socket.end();
    await client.closed;
    expect(client.received).toMatch(head);
    expect(client.received).toContain('"code":"client_gone"');
    expect(client.received).not.toContain('[DONE]');
  });

  it('and closes its side with its last byte is told so too, and a probe is answered', async () => {
    const fake = await start(request => pieces(request, 1, 'x', 1));
    const last = new RawClient(fake.port, true);
    const probe = new RawClient(fake.port, true);
    last.socket.end(Buffer.concat(post({}).map(part => Buffer.from(part))));
    probe.socket.end('GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await Promise.all([last.closed, probe.closed]);
    expect(JSON.parse(last.answer.body).error).toMatchObject({ code: 'client_gone' });
    expect(probe.answer.status).toBe(200);
    expect(fake.engine.requests).toEqual([]);
  });

  it('aborts all prompts of a request', async () => {
    const fake = await start(request => pieces(request, 1e6, 'x', 5));
    const client = new RawClient(fake.port).send(...post({ prompt: ['a', 'b', 'c'], stream: true }));
    await client.until('"index":2');
    expect(fake.engine.running).toBe(3);
    client.socket.destroy();
    await until(() => fake.engine.running === 0);
  });
});

describe('a failure', () => {
  const failing: Script = async function* () {
    yield 'one ';
    yield 'two';
    yield new EngineError('The logits were not finite.');
  };

  it('before the first output has its status', async () => {
    const fake = await start(async function* () {
      yield new EngineError('The logits were not finite.');
    });
    for (const stream of [true, false]) {
      const answer = await rawRequest(fake.port, ...post({ stream }));
      expect(answer.status).toBe(500);
      expect(JSON.parse(answer.body).error).toMatchObject({
        type: 'server_error',
        message: 'The logits were not finite.',
      });
    }
  });

  it('of an unknown kind tells the client nothing of its inside', async () => {
    const fake = await start(async function* () {
      yield new Error('/home/someone/secret');
    });
    const answer = await rawRequest(fake.port, ...post({}));
    expect(answer.status).toBe(500);
    expect(answer.body).not.toContain('secret');
  });

  it('in the middle of a stream is an error event, then the socket is destroyed: never a clean end', async () => {
    const fake = await start(failing);
    const answer = await rawRequest(fake.port, ...post({ stream: true }));
    expect(answer.status).toBe(200);
    expect(answer.body).toContain('data: {"error":{"message":"The logits were not finite.","type":"server_error"');
    expect(answer.body).not.toContain('[DONE]');
    expect(answer.body).not.toMatch(/\r\n0\r\n/);
  });

  it('makes the official client throw', async () => {
    const fake = await start(failing);
    const stream = await openAi(fake).completions.create({ model: 'fake', prompt: 'p', stream: true });
    const read = async () => {
      let text = '';
      for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
      return text;
    };
    await expect(read()).rejects.toThrow('The logits were not finite.');
  });

  it('of one prompt ends the others', async () => {
    const fake = await start(request =>
      (request.prompt as { prompt: string }).prompt === 'bad' ? failing(request) : pieces(request, 1e6, 'x', 5),
    );
    const answer = await rawRequest(fake.port, ...post({ prompt: ['good', 'bad'], stream: true }));
    expect(answer.body).toContain('"error"');
    expect(fake.engine.running).toBe(0);
  });
});

describe('a slow reader', () => {
  const PIECE = 64 * 1024;
  /** More than the kernel takes before Node sees that a client does not read. */
  const KERNEL_BUFFERS = 32 * 2 ** 20;

  it('stops taking output from the engine, and is cut off in time', async () => {
    let taken = 0;
    const flood: Script = async function* (request: FakeRequest) {
      for await (const piece of pieces(request, 1e6, 'y'.repeat(PIECE), 0)) {
        taken += PIECE;
        yield piece;
      }
    };
    const fake = await start(flood, { maxBufferedBytes: 64 * 1024, slowClientMs: 300 });
    const client = new RawClient(fake.port).send(...post({ stream: true }));
    await client.until('yyyy');
    client.socket.pause();
    // Its outputs are left, which aborts a request as its signal does.
    await until(() => fake.engine.running === 0);
    expect(fake.engine.requests[0]!.wasLeft).toBe(true);
    expect(taken).toBeLessThan(KERNEL_BUFFERS);
    client.socket.destroy();
  });

  it('that resumes gets every token', async () => {
    const fake = await start(request => pieces(request, 50, 'z'.repeat(PIECE), 0), { maxBufferedBytes: 1024 });
    const client = new RawClient(fake.port).send(...post({ stream: true }));
    await client.until('zzzz');
    client.socket.pause();
    await new Promise(resolve => setTimeout(resolve, 200));
    client.socket.resume();
    await client.until('[DONE]');
    expect(client.received.match(/z/g)?.length).toBe(50 * PIECE);
  });
});

describe('a full queue', () => {
  it('is 429 with Retry-After, before the prompt is tokenised', async () => {
    const fake = await start(request => pieces(request, 1e6, 'x', 5), { maxNumQueuedReqs: 2 });
    // The fake engine runs what it gets at once: these two run, none waits.
    const running = [1, 2].map(() => new RawClient(fake.port).send(...post({ stream: true })));
    await until(() => fake.engine.running === 2);
    fake.engine.running = 0;
    const answer = await rawRequest(fake.port, ...post({ prompt: 'p'.repeat(100_000) }));
    expect(answer.status).toBe(429);
    expect(answer.headers).toMatch(/retry-after: \d+/i);
    expect(JSON.parse(answer.body).error).toMatchObject({ type: 'rate_limit_error', code: 'queue_full' });
    expect(fake.engine.requests.length).toBe(2);
    // The body is not even read: this one never ends.
    const [head] = post({ prompt: 'p'.repeat(1000) });
    expect((await rawRequest(fake.port, head!)).status).toBe(429);
    fake.engine.running = 2;
    for (const client of running) client.socket.destroy();
  });

  it('counts every prompt and every choice', async () => {
    const fake = await start(request => pieces(request, 1e6, 'x', 5), { maxNumQueuedReqs: 8 });
    const client = new RawClient(fake.port).send(...post({ prompt: ['a', 'b'], n: 3, stream: true }));
    await until(() => fake.engine.running === 2);
    expect((await rawRequest(fake.port, ...post({ n: 5 }))).status).toBe(429);
    client.socket.destroy();
  });
});

describe('closing', () => {
  it('lets requests in progress finish and takes no new ones', async () => {
    const fake = await start(request => pieces(request, 20, 'x', 50));
    const handled = vi.spyOn(fake.app, 'handle');
    const idle = new RawClient(fake.port).send('GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await idle.until('200 OK');
    const client = new RawClient(fake.port).send(...post({ stream: true }));
    await client.until('"text":"x"');
    const busy = new RawClient(fake.port).send(...post({ stream: true }).slice(0, 1));
    await until(() => handled.mock.calls.length === 3);
    const closed = fake.server.close(60_000);
    busy.send(...post({ stream: true }).slice(1));
    await client.until('[DONE]');
    await closed;
    await Promise.all([idle.closed, client.closed, busy.closed]);
    for (const finished of [client, busy]) expect(finished.received.match(/"text":"x"/g)?.length).toBe(20);
    await expect(fetch(`${fake.origin}/health`)).rejects.toThrow();
  });

  it('ends streams with an error event after the grace period', async () => {
    const fake = await start(request => pieces(request, 1e6, 'x', 5));
    const client = new RawClient(fake.port).send(...post({ stream: true }));
    await client.until('"text":"x"');
    await fake.server.close(50);
    await client.closed;
    expect(client.received).toContain('"code":"shutting_down"');
    expect(client.received).not.toContain('[DONE]');
    expect(fake.engine.running).toBe(0);
  });
});

it('reports a closed engine on /health', async () => {
  const fake = await start(request => pieces(request, 1, 'x', 1));
  expect((await fetch(`${fake.origin}/health`)).status).toBe(200);
  fake.engine.closed = true;
  expect((await fetch(`${fake.origin}/health`)).status).toBe(503);
});

it('a full queue of tokens is 429 before the prompt is tokenised', async () => {
  const { server, origin } = await startTinyServer({ maxNumQueuedTokens: 4, maxNumSeqs: 1, numGpuBlocksOverride: 64 });
  const asyncLLM = server.engine;
  const running = asyncLLM.generate([5, 6, 7], { maxTokens: 400, ignoreEos: true })[Symbol.asyncIterator]();
  await running.next();
  const waiting = asyncLLM.generate([5, 6, 7, 8], { maxTokens: 1 });
  const encode = vi.spyOn(server.engine.tokenizer!, 'encode');
  const answer = await fetch(`${origin}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'x', max_tokens: 1 }),
  });
  expect([answer.status, answer.headers.get('retry-after'), encode.mock.calls]).toEqual([429, '1', []]);
  expect(await answer.json()).toMatchObject({
    error: { type: 'rate_limit_error', code: 'queue_full', message: expect.stringContaining('4 tokens wait') },
  });
  waiting.abort();
  await running.return?.();
  await server.close(0);
});
