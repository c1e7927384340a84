/** Whole batches over a handler that answers at once. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { dispatch, type Fetch } from '../../../packages/server/src/batch/dispatch.ts';
import { type RunBatchOptions, runBatch } from '../../../packages/server/src/batch/run-batch.ts';
import { until } from '../../support/until.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'quire-batch-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
const request = (i: number, body: object = { prompt: `p${i}` }) =>
  JSON.stringify({ custom_id: `id-${i}`, method: 'POST', url: '/v1/completions', body });

function write(name: string, lines: readonly string[]): string {
  writeFileSync(path(name), `${lines.join('\n')}\n`);
  return path(name);
}

interface Answer {
  custom_id: string | null;
  response: { status_code: number; request_id: string; body: { prompt?: string } } | null;
  error: { code: string; message: string; line: number } | null;
}

function read(name: string): Answer[] {
  const lines = readFileSync(path(name), 'utf8').trimEnd().split('\n');
  return lines.map(line => JSON.parse(line));
}

/** Says the prompt again. `fail` is answered with 400. */
const echo: Fetch = async request => {
  const { prompt } = (await request.json()) as { prompt: string };
  await new Promise(resolve => setTimeout(resolve, prompt.length % 3));
  const status = prompt === 'fail' ? 400 : 200;
  const body = { prompt, usage: { completion_tokens: 2 } };
  return Response.json(body, { status, headers: { 'x-request-id': 'r' } });
};

const run = (options: Partial<RunBatchOptions> = {}) =>
  runBatch({ input: path('in'), output: path('out'), shard: null, concurrency: 4, fetch: echo, ...options });

it('answers every line: requests, refusals, and lines that are none', async () => {
  write('in', [request(1), request(2, { prompt: 'fail' }), '{', '', request(3).replace('POST', 'PUT')]);
  expect(await run()).toEqual({ total: 4, skipped: 0, completed: 1, failed: 3, completionTokens: 4 });
  const answers = read('out');
  const byId = (id: string | null) => answers.find(answer => answer.custom_id === id);
  expect(byId('id-1')).toMatchObject({
    id: expect.stringMatching(/^batch_req_/),
    response: { status_code: 200, request_id: 'r', body: { prompt: 'p1' } },
    error: null,
  });
  expect(byId('id-2')).toMatchObject({ response: { status_code: 400 }, error: null });
  expect(byId(null)).toMatchObject({ response: null, error: { code: 'invalid_json_line', line: 3 } });
  expect(byId('id-3')).toMatchObject({ response: null, error: { code: 'invalid_request_line', line: 5 } });
});

it('goes on where it stopped: nothing is answered twice, bad lines neither', async () => {
  write('in', [...Array.from({ length: 20 }, (_, i) => request(i)), '{', 'null']);
  let sent = 0;
  const stopping: Fetch = async asked => {
    if (++sent > 8) throw new Error('power cut');
    return echo(asked);
  };
  await expect(run({ fetch: stopping })).rejects.toThrow('power cut');
  const before = read('out').length;
  writeFileSync(path('out'), `${readFileSync(path('out'), 'utf8')}{"id":"batch_req_0","custom_id":"id-1`);
  const counts = await run();
  expect(counts).toMatchObject({ total: 22, skipped: before, completed: 20 - before, failed: 2 });
  expect(await run()).toMatchObject({ skipped: 22, completed: 0, failed: 0 });
  const ids = read('out').map(answer => answer.custom_id ?? `line ${answer.error?.line}`);
  expect(ids.sort()).toEqual([...Array.from({ length: 20 }, (_, i) => `id-${i}`), 'line 21', 'line 22'].sort());
});

it('three shards give what one run gives', async () => {
  write('in.jsonl', [...Array.from({ length: 50 }, (_, i) => request(i)), '{']);
  const input = path('in.jsonl');
  await run({ input, output: path('one.jsonl') });
  for (const index of [0, 1, 2]) await run({ input, output: path('out.jsonl'), shard: { index, count: 3 } });
  const shards = [0, 1, 2].map(index => read(`out-0000${index}-of-00003.jsonl`));
  expect(shards.map(answers => answers.length)).toEqual([17, 17, 17]);
  const comparable = (answers: Answer[]) =>
    answers.map(({ custom_id, response, error }) => JSON.stringify({ custom_id, response, error })).sort();
  expect(comparable(shards.flat())).toEqual(comparable(read('one.jsonl')));
});

it('refuses a custom_id that stands on two lines, whatever their shards, before it sends anything', async () => {
  write('in', [request(1), request(2), request(1)]);
  const fetch: Fetch = () => Promise.reject(new Error('sent'));
  for (const shard of [null, { index: 1, count: 3 }]) {
    await expect(run({ fetch, shard })).rejects.toThrow(/lines 1 and 3 have the same custom_id "id-1"/);
  }
});

it('keeps so many requests in progress and no more', async () => {
  write(
    'in',
    Array.from({ length: 40 }, (_, i) => request(i)),
  );
  let [running, most] = [0, 0];
  const fetch: Fetch = async asked => {
    most = Math.max(most, ++running);
    // The first ones wait until there are as many as may be; then there is time for one too many.
    await until(() => most >= 7);
    await new Promise(resolve => setTimeout(resolve, 2));
    running--;
    return echo(asked);
  };
  await run({ fetch, concurrency: 7 });
  expect(most).toBe(7);
});

it('asks a busy server again, and stops the batch when it stays so', async () => {
  const item = { customId: 'a', url: '/v1/completions', body: { prompt: 'p' }, line: 4 };
  let calls = 0;
  const busyTwice: Fetch = async asked => (++calls <= 2 ? new Response('', { status: 503 }) : echo(asked));
  expect((await dispatch(item, { fetch: busyTwice, pauseMs: 1 })).response?.status).toBe(200);
  const busy: Fetch = async () => new Response('', { status: 429 });
  await expect(dispatch(item, { fetch: busy, pauseMs: 0 })).rejects.toThrow(/answered line 4 with 429 8 times/);
  const stopped = AbortSignal.abort(new Error('stop'));
  await expect(dispatch(item, { fetch: busy, signal: stopped })).rejects.toThrow('stop');
});
