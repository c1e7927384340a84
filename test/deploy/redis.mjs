/**
 * Batches through Redis: two servers on one queue, redis-server from Debian's packages, which is installed where it is missing. One
 * server is killed while it works, then the one that has the batch; every request must be answered once. Prints a line for each
 * check and ends with 1 when any fails.
 *
 *   npm run test:deploy
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { toFile } from 'openai';
import { metric, startEngine } from './engines.mjs';
import { text } from './load.mjs';
import { freePorts, installMissing, start, until } from './processes.mjs';

const REQUESTS = 60;

let failed = 0;
function check(what, ok, figures) {
  if (!ok) failed++;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${what}: ${figures}`);
}

async function startRedis(folder) {
  const [port] = await freePorts(1);
  const redis = start('redis-server', [
    '--port',
    String(port),
    '--dir',
    folder,
    '--appendonly',
    'yes',
    '--maxmemory-policy',
    'noeviction',
  ]);
  await until('Redis is up', async () => redis.output().includes('Ready to accept connections'), redis);
  return `redis://127.0.0.1:${port}`;
}

async function createBatch(client) {
  const lines = Array.from({ length: REQUESTS }, (_, i) => {
    const body = { prompt: text(i, 6), max_tokens: 24, temperature: 0, ignore_eos: true };
    return JSON.stringify({ custom_id: `id-${i}`, method: 'POST', url: '/v1/completions', body });
  });
  const file = await client.files.create({
    file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'),
    purpose: 'batch',
  });
  return client.batches.create({ input_file_id: file.id, endpoint: '/v1/completions', completion_window: '24h' });
}

/** What became of a batch: each custom_id once, all with status 200. */
async function answers(client, id) {
  const batch = await client.batches.retrieve(id);
  const lines = (await (await client.files.content(batch.output_file_id)).text()).trimEnd().split('\n');
  const found = lines.map(line => JSON.parse(line));
  const ids = new Set(found.map(line => line.custom_id));
  return { batch, lines: found.length, ids: ids.size };
}

const clientOf = ({ port }) => new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: 'none', timeout: 60_000 });

async function killed(queue, folder) {
  const ports = await freePorts(2);
  const owner = await startEngine(ports[0], ['--batch-queue', queue, '--batch-folder', folder]);
  const worker = await startEngine(ports[1], ['--batch-queue', queue]);
  const client = clientOf(owner);
  const { id } = await createBatch(client);
  const done = async () => (await client.batches.retrieve(id)).request_counts.completed;
  await until(
    'both servers work',
    async () => (await done()) > 4 && (await metric([worker.port], 'vllm:num_requests_running')) > 0,
  );
  const running = await metric([worker.port], 'vllm:num_requests_running');
  worker.kill('SIGKILL');
  await until(
    'the batch is over',
    async () => (await client.batches.retrieve(id)).status === 'completed',
    owner,
    300_000,
  );
  const { batch, lines, ids } = await answers(client, id);
  const once = lines === REQUESTS && ids === REQUESTS && batch.request_counts.failed === 0;
  check(
    'a server that is killed: every request is answered once',
    once,
    `${ids} of ${REQUESTS} ids in ${lines} lines, ${running} were with it`,
  );
  return owner;
}

async function ownerKilled(queue, folder, owner) {
  const client = clientOf(owner);
  const { id } = await createBatch(client);
  const done = async () => (await client.batches.retrieve(id)).request_counts.completed;
  await until('the batch has begun', async () => (await done()) > 4);
  owner.kill('SIGKILL');
  await owner.exit;
  const next = await startEngine(owner.port, ['--batch-queue', queue, '--batch-folder', folder]);
  await until(
    'the batch is over',
    async () => (await client.batches.retrieve(id)).status === 'completed',
    next,
    300_000,
  );
  const { batch, lines, ids } = await answers(client, id);
  const once = lines === REQUESTS && ids === REQUESTS && batch.request_counts.failed === 0;
  check(
    'the server of the batch is killed and comes back: the same',
    once,
    `${ids} of ${REQUESTS} ids in ${lines} lines`,
  );
  next.kill('SIGTERM');
  check('SIGTERM ends a server with a queue', (await next.exit) === 0, 'exit code 0');
}

installMissing({ 'redis-server': 'redis-server' });
const folder = mkdtempSync(join(tmpdir(), 'quire-redis-'));
try {
  const queue = await startRedis(folder);
  const owner = await killed(queue, join(folder, 'batches'));
  await ownerKilled(queue, join(folder, 'batches'), owner);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed === 0 ? 'All checks passed.' : `${failed} checks failed.`);
process.exit(failed === 0 ? 0 : 1);
