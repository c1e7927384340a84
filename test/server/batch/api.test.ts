/** /v1/files and /v1/batches through the official client. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { toFile } from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { BatchApi } from '../../../packages/server/src/batch/api/batch-api.ts';
import { until } from '../../support/until.ts';
import type { Script } from '../fake-engine.ts';
import { startFakeServer } from '../fake-server.ts';
import { goldenCase, startTinyServer } from '../tiny-server.ts';

type BatchBody = OpenAI.BatchCreateParams;

const folders: string[] = [];
const closing: (() => Promise<void>)[] = [];
const never = new Promise(() => {});
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'quire-batches-'));
  folders.push(folder);
  return folder;
}

/** A server whose engine says the prompt again once `held` resolves, which is told how many requests came before. */
async function start(folder = newFolder(), held: (number: number) => unknown = () => {}) {
  let number = 0;
  const echo: Script = async function* (request) {
    const { prompt } = request.prompt as { prompt: string };
    const { signal } = request;
    const left = new Promise<void>(resolve => {
      if (signal?.aborted) resolve();
      signal?.addEventListener('abort', () => resolve());
    });
    await Promise.race([held(number++), left]);
    yield prompt === 'broken' ? new Error('inside') : prompt;
  };
  const fake = await startFakeServer(echo);
  const api = await BatchApi.open(fake.app, { folder, byPriority: false });
  const stop = async () => {
    await api.close();
    await fake.server.close(0);
  };
  closing.push(stop);
  const client = new OpenAI({ baseURL: `${fake.origin}/v1`, apiKey: 'none', maxRetries: 0 });
  return { ...fake, folder, client, stop };
}

const line = (i: number | string, body: object = { prompt: `p${i}` }) =>
  JSON.stringify({ custom_id: `id-${i}`, method: 'POST', url: '/v1/completions', body });

async function upload(client: OpenAI, lines: readonly string[]) {
  return client.files.create({
    file: await toFile(Buffer.from(`${lines.join('\n')}\n`), 'in.jsonl'),
    purpose: 'batch',
  });
}

async function create(client: OpenAI, lines: readonly string[], fields: Partial<BatchBody> = {}) {
  const { id } = await upload(client, lines);
  return client.batches.create({
    input_file_id: id,
    endpoint: '/v1/completions',
    completion_window: '24h',
    ...fields,
  });
}

async function ended(client: OpenAI, id: string) {
  for (;;) {
    const batch = await client.batches.retrieve(id);
    if (['completed', 'failed', 'expired', 'cancelled'].includes(batch.status)) return batch;
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

interface Answer {
  custom_id: string;
  response: { status_code: number; body: { choices: { text: string }[] } } | null;
  error: { code: string; line: number } | null;
}

async function contents(client: OpenAI, id: string | null | undefined): Promise<Answer[]> {
  const text = await (await client.files.content(id!)).text();
  return text
    .split('\n')
    .slice(0, -1)
    .map(answer => JSON.parse(answer));
}

describe('files', () => {
  it('are stored, listed, read and deleted', async () => {
    const { client } = await start();
    const file = await upload(client, ['a', 'b']);
    expect(file).toMatchObject({
      object: 'file',
      bytes: 4,
      filename: 'in.jsonl',
      purpose: 'batch',
      status: 'processed',
    });
    const other = await client.files.create({ file: await toFile(Buffer.from(''), '../x'), purpose: 'user_data' });
    expect(other).toMatchObject({ bytes: 0, expires_at: null });
    expect((await client.files.list()).data.map(({ id }) => id)).toEqual([other.id, file.id]);
    expect((await client.files.list({ purpose: 'batch' })).data.map(({ id }) => id)).toEqual([file.id]);
    expect((await client.files.list({ order: 'asc', limit: 1, after: file.id })).data.map(({ id }) => id)).toEqual([
      other.id,
    ]);
    expect(await client.files.retrieve(file.id)).toEqual(file);
    expect(await (await client.files.content(file.id)).text()).toBe('a\nb\n');
    expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: 'file', deleted: true });
    await expect(client.files.retrieve(file.id)).rejects.toMatchObject({ status: 404, code: 'not_found' });
  });

  it('come through whole when they are large, and stay within the folder', async () => {
    const { client, folder } = await start();
    const bytes = Buffer.alloc(5_000_000, 'line\n');
    const name = '../../../etc/passwd';
    const { id, filename } = await client.files.create({ file: await toFile(bytes, name), purpose: 'batch' });
    expect(filename).not.toContain('/');
    expect(Buffer.from(await (await client.files.content(id)).arrayBuffer()).equals(bytes)).toBe(true);
    expect(readdirSync(join(folder, 'files')).sort()).toEqual([`${id}.data`, `${id}.json`]);
    for (const wrong of ['..%2f..%2fbatches', `${id}.json`]) {
      await expect(client.files.retrieve(wrong)).rejects.toMatchObject({ status: 404 });
    }
  });

  it('that expire are gone', async () => {
    const { client, folder } = await start();
    const { id } = await client.files.create({
      file: await toFile(Buffer.from('x'), 'x'),
      purpose: 'batch',
      expires_after: { anchor: 'created_at', seconds: 3600 },
    });
    const { created_at, expires_at } = await client.files.retrieve(id);
    expect(expires_at! - created_at).toBe(3600);
    expect(statSync(join(folder, 'files', `${id}.data`)).size).toBe(1);
  });

  it.each([
    [{}, 400, 'file'],
    [{ file: 'text' }, 400, 'file'],
    [{ file: new Blob(['x']) }, 400, 'purpose'],
    [{ file: new Blob(['x']), purpose: 'other' }, 400, 'purpose'],
    [{ file: new Blob(['x']), purpose: 'batch', 'expires_after[anchor]': 'now' }, 400, 'expires_after.anchor'],
    [
      { file: new Blob(['x']), purpose: 'batch', 'expires_after[anchor]': 'created_at', 'expires_after[seconds]': '5' },
      400,
      'expires_after.seconds',
    ],
  ])('that are malformed leave nothing: %o', async (fields, status, param) => {
    const { origin, folder } = await start();
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    const answer = await fetch(`${origin}/v1/files`, { method: 'POST', body: form });
    expect([answer.status, ((await answer.json()) as { error: { param: string } }).error.param]).toEqual([
      status,
      param,
    ]);
    expect(readdirSync(join(folder, 'files'))).toEqual([]);
  });

  it.each([
    ['application/json', '{}', 415],
    ['multipart/form-data', 'x', 400],
    ['multipart/form-data; boundary=b', '--b\r\nno end', 400],
    [
      'multipart/form-data; boundary=b',
      '--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\nhalf',
      400,
    ],
  ])('need a form: %s %s', async (type, body, status) => {
    const { origin, folder } = await start();
    const answer = await fetch(`${origin}/v1/files`, { method: 'POST', headers: { 'content-type': type }, body });
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
    expect(readdirSync(join(folder, 'files'))).toEqual([]);
  });
});

describe('a batch', () => {
  it('is answered, failures apart from answers', async () => {
    const { client, folder } = await start();
    const made = await create(client, [line(1), line(2, { prompt: 'broken' }), line(3, { prompt: 3 }), line(4)], {
      metadata: { who: 'me' },
    });
    expect(made).toMatchObject({
      id: expect.stringMatching(/^batch_/),
      object: 'batch',
      endpoint: '/v1/completions',
      status: 'validating',
      metadata: { who: 'me' },
      output_file_id: null,
    });
    const batch = await ended(client, made.id);
    expect(batch).toMatchObject({
      status: 'completed',
      request_counts: { total: 4, completed: 2, failed: 2 },
      errors: null,
    });
    for (const time of ['in_progress_at', 'finalizing_at', 'completed_at'] as const)
      expect(batch[time]).toBeGreaterThan(0);
    const answers = await contents(client, batch.output_file_id);
    expect(answers.map(({ custom_id, response }) => [custom_id, response?.body.choices[0]?.text]).sort()).toEqual([
      ['id-1', 'p1'],
      ['id-4', 'p4'],
    ]);
    const errors = await contents(client, batch.error_file_id);
    expect(errors.map(({ custom_id, response }) => [custom_id, response?.status_code]).sort()).toEqual([
      ['id-2', 500],
      ['id-3', 400],
    ]);
    expect((await client.files.retrieve(batch.output_file_id!)).purpose).toBe('batch_output');
    expect((await client.batches.list()).data.map(({ id }) => id)).toEqual([made.id]);
    await until(() => readdirSync(join(folder, 'batches')).length === 1);
  });

  it('with a bad line fails and tells which', async () => {
    const { client } = await start();
    const lines = [line(1), '{', line(1), line(2).replace('/v1/completions', '/v1/chat/completions')];
    const batch = await ended(client, (await create(client, lines)).id);
    expect(batch).toMatchObject({ status: 'failed', output_file_id: null, error_file_id: null });
    expect(batch.errors!.data!.map(({ code, line: at }) => [code, at])).toEqual([
      ['invalid_json_line', 2],
      ['duplicate_custom_id', 3],
      ['mismatched_url', 4],
    ]);
    expect((await ended(client, (await create(client, [''])).id)).errors!.data![0]!.code).toBe('empty_file');
  });

  it('that is cancelled keeps what is answered', async () => {
    const { client, engine } = await start(newFolder(), number => number < 10 || never);
    const made = await create(
      client,
      Array.from({ length: 200 }, (_, i) => line(i)),
    );
    await until(async () => (await client.batches.retrieve(made.id)).request_counts!.completed >= 3);
    expect((await client.batches.cancel(made.id)).status).toBe('cancelling');
    const batch = await ended(client, made.id);
    const { completed } = batch.request_counts!;
    expect(batch.status).toBe('cancelled');
    expect(completed).toBeLessThan(200);
    expect((await contents(client, batch.output_file_id)).length).toBe(completed);
    expect(engine.running).toBe(0);
    await expect(client.batches.cancel(made.id)).rejects.toMatchObject({ status: 409 });
  });

  it('that expires says so of every request it did not come to', async () => {
    const { client } = await start(newFolder(), number => number < 10 || never);
    const lines = Array.from({ length: 40 }, (_, i) => line(i));
    const batch = await ended(client, (await create(client, lines, { completion_window: '1s' as '24h' })).id);
    const { completed, failed } = batch.request_counts!;
    expect(batch.status).toBe('expired');
    expect([completed + failed, failed > 0]).toEqual([40, true]);
    const errors = await contents(client, batch.error_file_id);
    expect(errors.map(({ error }) => error?.code)).toEqual(Array(failed).fill('batch_expired'));
  });

  it('goes on with the next server, each request once', async () => {
    const first = await start(newFolder(), number => number < 10 || never);
    const lines = Array.from({ length: 60 }, (_, i) => line(i));
    const [running, waiting] = [await create(first.client, lines), await create(first.client, lines)];
    await until(async () => (await first.client.batches.retrieve(running.id)).request_counts!.completed >= 5);
    await first.stop();
    const before = first.engine.requests.length;
    expect(before).toBeLessThan(120);
    const second = await start(first.folder);
    for (const { id } of [running, waiting]) {
      const batch = await ended(second.client, id);
      expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 60, completed: 60, failed: 0 } });
      const ids = (await contents(second.client, batch.output_file_id)).map(({ custom_id }) => custom_id);
      expect(ids.sort()).toEqual(lines.map((_, i) => `id-${i}`).sort());
    }
    expect(second.engine.requests.length).toBeLessThan(120);
  });

  it('lets others go first: half of the places, and none while a request waits', async () => {
    let most = 0;
    // The first ones wait until there are as many as may be; then there is time for one too many.
    const held = async () => {
      await until(() => most >= engine.limits.maxNumSeqs / 2);
      await new Promise(resolve => setTimeout(resolve, 20));
    };
    const { client, engine } = await start(newFolder(), held);
    const [stats, generate] = [engine.stats.bind(engine), engine.generate.bind(engine)];
    let waiting = 1;
    engine.stats = () => ({ ...stats(), numRequestsWaiting: waiting });
    engine.generate = (...request) => {
      const outputs = generate(...request);
      most = Math.max(most, engine.running);
      return outputs;
    };
    const made = await create(
      client,
      Array.from({ length: 20 }, (_, i) => line(i)),
    );
    await new Promise(resolve => setTimeout(resolve, 200));
    expect(engine.requests.length).toBe(0);
    waiting = 0;
    await ended(client, made.id);
    expect(most).toBe(engine.limits.maxNumSeqs / 2);
  });

  it.each([
    [{ endpoint: '/v1/models' }, 'endpoint'],
    [{ endpoint: '/v1/batches' }, 'endpoint'],
    [{ completion_window: 'soon' }, 'completion_window'],
    [{ completion_window: '999h' }, 'completion_window'],
    [{ input_file_id: 'file-0' }, 'file_id'],
    [{ metadata: { a: 1 } }, 'metadata.a'],
    [{ output_expires_after: { anchor: 'created_at', seconds: 3600 } }, 'output_expires_after'],
  ])('that is malformed is refused: %o', async (fields, param) => {
    const { client } = await start();
    await expect(create(client, [line(1)], fields as Partial<BatchBody>)).rejects.toMatchObject({ param });
    expect((await client.batches.list()).data).toEqual([]);
  });
});

it.each([
  ['127.0.0.1', 'batchQueue must be an address such as redis://host:6379.'],
  ['redis://:secret@127.0.0.1:1', 'batchQueue cannot be reached: connect ECONNREFUSED 127.0.0.1:1.'],
])('a queue that is not there is an error of the start: %s', async (queue, message) => {
  const { app } = await start();
  const opened = BatchApi.open(app, { folder: newFolder(), queue, byPriority: false });
  await expect(opened).rejects.toMatchObject({ name: 'ConfigError', option: 'batchQueue', message });
});

it('serves both with a folder alone, and gives the text of a single request', async () => {
  const folder = newFolder();
  const { client, server } = await startTinyServer({ batchFolder: folder, schedulingPolicy: 'priority' });
  closing.push(() => server.close(0));
  const { prompt, maxTokens, text } = goldenCase('the-dog');
  const made = await create(client, [line(1, { prompt, max_tokens: maxTokens, temperature: 0 })]);
  const batch = await ended(client, made.id);
  expect((await contents(client, batch.output_file_id))[0]?.response?.body.choices[0]?.text).toBe(text);
  expect(existsSync(join(folder, 'batches', `${made.id}.json`))).toBe(true);
});
