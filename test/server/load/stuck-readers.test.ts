/** Clients that do not read, beside clients that do. Pieces are large, since the kernel takes megabytes before a server sees it. */
import { afterEach, expect, it } from 'vitest';
import { pieces, type Script } from '../fake-engine.ts';
import { type FakeServer, startFakeServer } from '../fake-server.ts';
import { RawClient, rawPost } from '../raw-socket.ts';
import { atMost, GOALS, isFull, p99, stream, tell, watchOwnLoop } from './clients.ts';

const COUNT = isFull ? 100 : 4;
const PIECE = 64 * 1024;
/** How long nothing must be taken from the engine for a reader to count as stuck. */
const QUIET_MS = 1000;
let fake: FakeServer;
afterEach(() => fake.server.close(0));

/** Prompt `s`: as much as the client takes. Others: fifty tokens. */
let lastTaken = 0;
const flood: Script = async function* (request) {
  for await (const piece of pieces(request, 1e6, 'y'.repeat(PIECE), 20)) {
    lastTaken = performance.now();
    yield piece;
  }
};
const script: Script = request =>
  (request.prompt as { prompt: string }).prompt === 's' ? flood(request) : pieces(request, 50, 'x', 5);

const normal = async () => {
  const all = await Promise.all(
    Array.from({ length: COUNT }, () => stream(fake.origin, { prompt: 'n', max_tokens: 50, return_token_ids: false })),
  );
  const gaps = all.flatMap(({ times }) => times.slice(1).map((time, i) => time - times[i]!));
  return { all, gap: p99(gaps) };
};

it(`${COUNT} stuck readers beside ${COUNT} others: bounded memory, and the others get all`, {
  timeout: 600_000,
}, async () => {
  fake = await startFakeServer(script, {
    maxBufferedBytes: PIECE,
    slowClientMs: isFull ? 30_000 : 4000,
    maxNumQueuedReqs: 1000,
  });
  const alone = await normal();
  const before = process.memoryUsage().rss;
  const loop = watchOwnLoop();
  const stuck = Array.from({ length: COUNT }, () => {
    const client = new RawClient(fake.port).send(
      ...rawPost('/v1/completions', JSON.stringify({ prompt: 's', stream: true })),
    );
    client.socket.pause();
    return client;
  });
  // All have begun and nothing more is taken. On a busy machine the first may be cut off before the last is stuck.
  while (fake.engine.requests.length < 2 * COUNT || performance.now() - lastTaken < QUIET_MS) {
    await new Promise(resolve => setTimeout(resolve, 5));
  }
  const stillStuck = fake.engine.running;
  const beside = await normal();
  const megabytes = (process.memoryUsage().rss - before) / 1e6;
  while (fake.engine.running > 0) await new Promise(resolve => setTimeout(resolve, 20));
  tell('stuck readers', {
    stuck: stillStuck,
    'p99 between tokens alone ms': alone.gap,
    'beside them ms': atMost(beside.gap, 1.1 * alone.gap),
    'MB more': megabytes,
    'event loop p99 ms, clients and server': atMost(loop.p99, GOALS.loopP99),
  });
  expect(beside.all.every(({ whole, text }) => whole && text === 'x'.repeat(50))).toBe(true);
  expect(fake.engine.requests.filter(request => request.wasLeft).length).toBe(COUNT);
  for (const client of stuck) client.socket.destroy();
});
