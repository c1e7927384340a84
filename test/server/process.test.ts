import { createServer } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/until.ts';
import { build } from './build.ts';
import { RawClient, rawPost } from './raw-socket.ts';
import { endAll, serve } from './served-process.ts';

beforeAll(build);
afterEach(endAll);

const story = (maxTokens: number, n = 1) =>
  rawPost(
    '/v1/completions',
    JSON.stringify({ prompt: 'Once', max_tokens: maxTokens, ignore_eos: true, seed: 1, n, stream: true }),
  );
/** Takes a minute, far longer than anything that is done meanwhile. */
const endless = () => story(500, 64);

describe('quire serve', () => {
  it('says what it serves, where, and what fits', async () => {
    const { output, port } = await serve(
      '--served-model-name',
      'tiny,other',
      '--max-model-len',
      '256',
      '--num-gpu-blocks-override',
      '64',
    );
    expect(output()).toContain('Device: reference');
    expect(output()).toContain('GPU KV cache size: 1,024 tokens');
    expect(output()).toContain('Maximum concurrency for 256 tokens per request: 4.00x');
    expect(output()).toMatch(
      /Started in: device \d+ ms, weights \(\d+\.\d\d GB\/s\) \d+ ms, kv cache \(1024 tokens\) \d+ ms, model \d+ ms, total \d+ ms/,
    );
    expect(output()).toMatch(/"totalBytes":\d{7},.*"msg":"Loading weights: 100 % of \d\.\d MB, .*\/s"/);
    expect(output()).toContain(`Serving tiny, other on http://127.0.0.1:${port}`);
    const models = (await (await fetch(`http://127.0.0.1:${port}/v1/models`)).json()) as { data: { id: string }[] };
    expect(models.data.map(model => model.id)).toEqual(['tiny', 'other']);
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('drains on %s: the stream ends whole, then exit code 0', async signal => {
    const { child, port, exit } = await serve();
    const client = new RawClient(port).send(...story(120));
    await client.until('"text"');
    child.kill(signal);
    await client.until('[DONE]');
    expect(client.received).toContain('"finish_reason":"length"');
    expect(await exit).toEqual({ code: 0, signal: null });
  });

  it('ends streams with an error event when the time to drain is over', async () => {
    const { child, port, exit } = await serve('--shutdown-timeout', '0.1');
    const client = new RawClient(port).send(...endless());
    await client.until('"text"');
    child.kill('SIGTERM');
    await client.closed;
    expect(client.received).toContain('"code":"shutting_down"');
    expect(client.received).not.toContain('[DONE]');
    expect(await exit).toEqual({ code: 0, signal: null });
  });

  it('ends at once on a second signal', async () => {
    const { child, port, exit } = await serve();
    const client = new RawClient(port).send(...endless());
    await client.until('"text"');
    const health = () =>
      fetch(`http://127.0.0.1:${port}/health`).then(
        ({ status }) => status,
        () => 'gone',
      );
    child.kill('SIGTERM');
    await until(async () => (await health()) !== 200);
    child.kill('SIGTERM');
    expect(await exit).toEqual({ code: 128 + 15, signal: null });
    await client.closed;
    expect(client.received).not.toContain('[DONE]');
  });

  it('says that a port is taken, without a stack', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise(resolve => taken.once('listening', resolve));
    const { port } = taken.address() as { port: number };
    await expect(serve('--port', String(port), '--log-level', 'silent')).rejects.toThrow(
      /ended with 2: quire: Cannot listen on 127\.0\.0\.1 port \d+: the port is taken/,
    );
    taken.close();
  });

  it('goes on when nobody reads its output', async () => {
    const { child, port } = await serve();
    child.stdout!.destroy();
    child.stderr!.destroy();
    for (let i = 0; i < 20; i++) expect((await fetch(`http://127.0.0.1:${port}/v1/models`)).status).toBe(200);
    expect(child.exitCode).toBeNull();
  });
});
