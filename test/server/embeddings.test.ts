/** POST /v1/embeddings through OpenAI's client, whose default is base64, on a real server whose engine has its own process. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

const model = fileURLToPath(new URL('../fixtures/embeddings/qwen3-last', import.meta.url));
const cases: { tokenIds: number[]; embedding: number[] }[] = JSON.parse(
  readFileSync(`${model}/embeddings.json`, 'utf8'),
);
const [one, two, three] = cases as [(typeof cases)[0], (typeof cases)[0], (typeof cases)[0]];
const spelled = String.fromCharCode(...three.tokenIds.map(id => 97 + (id % 26)));

let tiny: TinyServer;
beforeAll(async () => {
  tiny = await startTinyServer({ model, numGpuBlocksOverride: 200 });
});
afterAll(async () => tiny?.server.close());

const close = (expected: readonly number[]) => expected.map(value => expect.closeTo(value, 4));

async function post(
  body: object,
): Promise<{ status: number; body: { data: { embedding: unknown }[]; error: object } }> {
  const response = await fetch(`${tiny.origin}/v1/embeddings`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as never };
}

it('gives the embeddings of token ids, in order, with usage', async () => {
  const answer = await tiny.client.embeddings.create({
    model: 'tiny',
    input: [one.tokenIds, two.tokenIds, three.tokenIds],
  });
  expect(answer.object).toBe('list');
  expect(answer.model).toBe('tiny');
  expect(answer.data.map(({ index, object }) => [index, object])).toEqual([0, 1, 2].map(i => [i, 'embedding']));
  answer.data.forEach(({ embedding }, i) => {
    expect(embedding).toEqual(close(cases[i]!.embedding));
  });
  expect(answer.usage).toMatchObject({ prompt_tokens: 18, total_tokens: 18 });
});

it('gives the same as floats and in base64, one prompt of ids or a text', async () => {
  const ask = { model: 'tiny', input: three.tokenIds };
  const floats = await tiny.client.embeddings.create({ ...ask, encoding_format: 'float' });
  const packed = await tiny.client.embeddings.create(ask);
  expect(packed.data[0]!.embedding).toEqual(floats.data[0]!.embedding);
  const raw = await post({ ...ask, encoding_format: 'base64' });
  const bytes = Buffer.from(raw.body.data[0]!.embedding as string, 'base64');
  expect(floats.data[0]!.embedding).toEqual(Array.from({ length: 24 }, (_, i) => bytes.readFloatLE(4 * i)));
  const ids = [...Buffer.from(spelled), 256];
  const text = await tiny.client.embeddings.create({ model: 'tiny', input: [spelled] });
  const same = await tiny.client.embeddings.create({ model: 'tiny', input: ids });
  expect(text.data[0]!.embedding).toEqual(same.data[0]!.embedding);
  expect(text.usage.prompt_tokens).toBe(ids.length);
});

it('cuts and normalises as asked', async () => {
  const { data } = await tiny.client.embeddings.create({ model: 'tiny', input: two.tokenIds, dimensions: 6 });
  const cut = two.embedding.slice(0, 6);
  expect(data[0]!.embedding).toEqual(close(cut.map(value => value / Math.hypot(...cut))));
  const raw = await post({ input: two.tokenIds, normalize: false });
  expect(Math.hypot(...(raw.body.data[0]!.embedding as number[]))).toBeGreaterThan(1.5);
});

it('keeps the last tokens of a text that is to be truncated', async () => {
  const long = 'x'.repeat(500);
  const cut = await post({ input: long, truncate_prompt_tokens: 9 });
  const same = await post({ input: [...Buffer.from('x'.repeat(8)), 256] });
  expect(cut.body.data[0]!.embedding).toEqual(same.body.data[0]!.embedding);
  expect((await post({ input: long, truncate_prompt_tokens: -1 })).status).toBe(200);
});

it.each([
  ['no input', {}, 'input'],
  ['an empty list', { input: [] }, 'prompt'],
  ['objects', { input: [{}] }, 'input'],
  ['a text beyond the context', { input: 'x'.repeat(65) }, 'input'],
  ['ids beyond the context', { input: Array.from({ length: 65 }, () => 1) }, 'prompt'],
  ['an id outside the vocabulary', { input: [260] }, 'prompt'],
  ['another encoding', { input: 'a', encoding_format: 'bytes' }, 'encoding_format'],
  ['too many dimensions', { input: 'a', dimensions: 25 }, 'dimensions'],
  ['no dimensions', { input: 'a', dimensions: 0 }, 'dimensions'],
  ['a truncation that is too long', { input: 'a', truncate_prompt_tokens: 65 }, 'truncate_prompt_tokens'],
  ['messages', { input: 'a', messages: [] }, 'messages'],
])('refuses %s', async (_, body, param) => {
  const answer = await post(body);
  expect(answer).toMatchObject({ status: 400, body: { error: { param } } });
});

it('refuses to generate, and says which models there are', async () => {
  const asked = tiny.client.completions.create({ model: 'tiny', prompt: 'a' });
  await expect(asked).rejects.toMatchObject({ status: 400, code: 'wrong_task' });
  await expect(tiny.client.embeddings.create({ model: 'other', input: 'a' })).rejects.toMatchObject({ status: 404 });
});
