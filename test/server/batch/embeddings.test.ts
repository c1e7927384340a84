/** Embeddings in batches: from files, and through the Batch API. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toFile } from 'openai';
import { afterAll, expect, it } from 'vitest';
import { runCli } from '../../../packages/server/src/cli/run-cli.ts';
import { startTinyServer } from '../tiny-server.ts';

const model = fileURLToPath(new URL('../../fixtures/embeddings/qwen3-last', import.meta.url));
const cases: { tokenIds: number[]; embedding: number[] }[] = JSON.parse(
  readFileSync(`${model}/embeddings.json`, 'utf8'),
);
const folder = mkdtempSync(join(tmpdir(), 'quire-batch-'));
afterAll(() => rmSync(folder, { recursive: true }));

const line = (id: string, body: object) =>
  JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/embeddings', body });
const input = [
  ...cases.map(({ tokenIds }, i) => line(`ids-${i}`, { input: tokenIds })),
  line('packed', { input: cases[0]!.tokenIds, encoding_format: 'base64' }),
  line('long', { input: 'x'.repeat(65) }),
  '',
].join('\n');

/** Every line has the embedding that the model has of its prompt, or says what is wrong with it. */
function check(output: string): void {
  const answers = new Map<string, { status_code: number; body: { data?: { embedding: unknown }[]; error?: object } }>();
  for (const text of output.trimEnd().split('\n')) {
    const { custom_id: id, response, error } = JSON.parse(text);
    expect(error).toBeNull();
    answers.set(id, response);
  }
  expect([...answers.keys()].sort()).toEqual([...cases.map((_, i) => `ids-${i}`), 'long', 'packed'].sort());
  for (const [i, { embedding }] of cases.entries()) {
    const { status_code: status, body } = answers.get(`ids-${i}`)!;
    expect(status).toBe(200);
    expect(body.data![0]!.embedding).toEqual(embedding.map(value => expect.closeTo(value, 4)));
  }
  const packed = Buffer.from(answers.get('packed')!.body.data![0]!.embedding as string, 'base64');
  const floats = answers.get('ids-0')!.body.data![0]!.embedding as number[];
  expect(floats.map((_, i) => packed.readFloatLE(4 * i))).toEqual(floats);
  expect(answers.get('long')).toMatchObject({ status_code: 400, body: { error: { param: 'input' } } });
}

it('run-batch writes them', async () => {
  const [from, to] = [join(folder, 'in.jsonl'), join(folder, 'out.jsonl')];
  writeFileSync(from, input);
  const flags = ['--device', 'reference', '--num-gpu-blocks-override', '200', '-i', from, '-o', to];
  let errors = '';
  const err = (text: string) => {
    errors += text;
  };
  const code = await runCli(['run-batch', model, ...flags], { env: {}, out: () => {}, err });
  expect(errors).toContain(`${cases.length + 2} of ${cases.length + 2} requests, 1 failed`);
  expect(code).toBe(0);
  check(readFileSync(to, 'utf8'));
});

it('the Batch API gives them', async () => {
  const { client, server } = await startTinyServer({ model, numGpuBlocksOverride: 200, batchFolder: folder });
  try {
    const file = await client.files.create({ file: await toFile(Buffer.from(input), 'in.jsonl'), purpose: 'batch' });
    const fields = { endpoint: '/v1/embeddings', completion_window: '24h' } as const;
    let batch = await client.batches.create({ input_file_id: file.id, ...fields });
    while (batch.status !== 'completed') {
      expect(batch.status).not.toMatch(/failed|expired|cancelled/);
      await new Promise(resolve => setTimeout(resolve, 10));
      batch = await client.batches.retrieve(batch.id);
    }
    expect(batch.request_counts).toEqual({ total: cases.length + 2, completed: cases.length + 1, failed: 1 });
    const texts = [batch.output_file_id, batch.error_file_id].map(async id => {
      return id ? await (await client.files.content(id)).text() : '';
    });
    check((await Promise.all(texts)).join(''));
  } finally {
    await server.close(0);
  }
});
