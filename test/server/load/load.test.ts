/**
 * Servers under load. In the gate a small one; `npm run test:load` runs all of it and prints the figures. What a busy machine changes
 * is printed and not asserted.
 */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { COUNTED } from '../../../packages/server/src/bench/mock-device.ts';
import { FrontEnd } from '../../../packages/server/src/bench/serve/front-end.ts';
import { mulberry32 } from '../../../packages/server/src/bench/serve/workload.ts';
import { EngineProcess } from '../../../packages/server/src/engine-process/engine-process.ts';
import { until } from '../../support/until.ts';
import { build } from '../build.ts';
import { RawClient, rawPost } from '../raw-socket.ts';
import { goldenCase, startTinyServer, tinyLlama } from '../tiny-server.ts';
import {
  atLeast,
  atMost,
  GOALS,
  isFull,
  metric,
  Prober,
  p99,
  type Streamed,
  stream,
  tell,
  watch,
  watchOwnLoop,
} from './clients.ts';

const HOUR = 3_600_000;
beforeAll(build);
const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});

/** A server over an engine that computes nothing and counts: a token that is lost, doubled or out of place shows. */
async function start(options: Record<string, unknown> = {}): Promise<FrontEnd> {
  const frontEnd = await FrontEnd.start(tinyLlama, options);
  open.push(() => frontEnd.stop());
  return frontEnd;
}

const prompt = (i: number) => [10 + (i % 80), 10 + Math.floor(i / 80), 20, 21];

/** Every token is the successor of the one before it. */
function inOrder({ tokenIds }: Streamed): boolean {
  const { first, count } = COUNTED;
  return tokenIds.every((id, i) => i === 0 || id - first === (tokenIds[i - 1]! - first + 1) % count);
}

/**
 * All at once: the engine stands still until the server has let in every one of them. A hundred more whenever those before are in: a
 * client that connects a thousand times at once is late with its own heads.
 */
async function allAtOnce(frontEnd: FrontEnd, count: number, tokens: number): Promise<Streamed[]> {
  const { origin } = frontEnd;
  const { enginePid } = await frontEnd.use();
  const admitted = async () => ((await (await fetch(`${origin}/load`)).json()) as { server_load: number }).server_load;
  const all: Promise<Streamed>[] = [];
  process.kill(enginePid, 'SIGSTOP');
  try {
    while (all.length < count) {
      const wave = Array.from({ length: Math.min(100, count - all.length) }, (_, i) => all.length + i);
      for (const i of wave) all.push(stream(origin, { prompt: prompt(i), max_tokens: tokens }));
      while ((await admitted()) < all.length) await new Promise(resolve => setTimeout(resolve, 10));
    }
  } finally {
    process.kill(enginePid, 'SIGCONT');
  }
  return Promise.all(all);
}

const gapsOf = ({ times }: Streamed) => times.slice(1).map((time, i) => time - times[i]!);

describe('many streams at once', () => {
  const [STREAMS, TOKENS] = isFull ? [1000, 100] : [50, 50];

  it(`${STREAMS} of ${TOKENS} tokens: none lost, doubled or out of place`, { timeout: HOUR }, async () => {
    const frontEnd = await start();
    await stream(frontEnd.origin, { prompt: prompt(0), max_tokens: 2 });
    const started = performance.now();
    const { result, use, rssGrowth } = await watch(frontEnd, allAtOnce(frontEnd, STREAMS, TOKENS));
    const wrong = result.filter(one => !one.whole || one.tokenIds.length !== TOKENS || !inOrder(one));
    tell('streams', {
      'streams at once': STREAMS,
      wrong: wrong.length,
      'tokens/s': (1000 * STREAMS * TOKENS) / (performance.now() - started),
      'KB per stream': atMost(rssGrowth / 1000 / STREAMS, GOALS.kilobytesPerStream),
      'event loop p99 ms': atMost(use.loopDelayP99, GOALS.loopP99),
      'max ms': atMost(use.loopDelayMax, GOALS.loopMax),
    });
    expect(wrong).toEqual([]);
  });

  const [MODEL_STREAMS, MODEL_TOKENS] = isFull ? [200, 100] : [8, 12];

  it(`${MODEL_STREAMS} of ${MODEL_TOKENS} tokens on tiny-llama say what one alone says`, {
    timeout: HOUR,
  }, async () => {
    const { server, origin } = await startTinyServer();
    open.push(() => server.close(0));
    const { prompt: text } = goldenCase('the-dog');
    const body = { prompt: text, max_tokens: MODEL_TOKENS };
    const alone = await stream(origin, body);
    const before = process.memoryUsage().rss;
    const all = await Promise.all(Array.from({ length: MODEL_STREAMS }, () => stream(origin, body)));
    const kilobytes = (process.memoryUsage().rss - before) / 1000 / MODEL_STREAMS;
    const wrong = all.filter(one => !one.whole || one.text !== alone.text || `${one.tokenIds}` !== `${alone.tokenIds}`);
    tell('streams on tiny-llama', {
      streams: MODEL_STREAMS,
      wrong: wrong.length,
      'KB per stream, client and server': kilobytes,
    });
    expect(alone.tokenIds.length).toBe(MODEL_TOKENS);
    expect(wrong).toEqual([]);
  });
});

it('a flood at 20 times the capacity: each request is answered or refused at once', { timeout: HOUR }, async () => {
  const [rows, queue, tokens, seconds] = isFull ? [8, 8, 16, 60] : [2, 2, 8, 1];
  const frontEnd = await FrontEnd.start(tinyLlama, { maxNumSeqs: rows, maxNumQueuedReqs: queue }, true);
  open.push(() => frontEnd.stop());
  const send = (i: number) => stream(frontEnd.origin, { prompt: prompt(i), max_tokens: tokens });
  const capacity = await capacityOf(send, rows + queue, isFull ? 20_000 : 1000);
  const prober = new Prober(frontEnd.origin, { prompt: prompt(0), max_tokens: 1 }, isFull ? 40 : 5);
  const loop = watchOwnLoop();
  const started = performance.now();
  const flood = Array.from({ length: Math.ceil(20_000 * capacity * seconds) }, async (_, i) => {
    await new Promise(resolve => setTimeout(resolve, i / (20 * capacity)));
    return send(i);
  });
  // For as long as the client in a process of its own has not met it.
  const more: Streamed[] = [];
  const goOn = async () => {
    while (!prober.wasRefused) more.push(await send(more.length));
  };
  const all = Promise.all([...flood, ...Array.from({ length: 4 * (rows + queue) }, goOn)]);
  const { result, use } = await watch(
    frontEnd,
    all.then(() => Promise.all(flood)).then(planned => [...planned, ...more]),
  );
  const took = performance.now() - started;
  const probed = await prober.stop();
  const accepted = result.filter(({ status }) => status === 200);
  const refused = result.filter(({ status }) => status === 429);
  tell('flood', {
    sent: result.length,
    'of so many a second': (1000 * result.length) / took,
    accepted: accepted.length,
    refused: refused.length,
    'goodput share': atLeast(accepted.length / took / capacity, GOALS.goodput),
    'refusal p99 ms, at the server': atMost(use.refusalP99, GOALS.refusalP99),
    'as a client in a process of its own sees it, with a new connection each time': atMost(
      p99(probed.refused),
      GOALS.refusalP99,
    ),
    'of so many': probed.refused.length,
    'event loop of that client p99 ms': probed.loopP99,
    'as the clients of the flood see it': p99(refused.map(({ latency }) => latency)),
    'event loop of those clients p99 ms': loop.p99,
    'event loop p99 ms': atMost(use.loopDelayP99, GOALS.loopP99),
  });
  expect(accepted.length + refused.length).toBe(result.length);
  expect(refused.length).toBeGreaterThan(0);
  expect(probed.refused.length).toBeGreaterThan(0);
  expect(accepted.length).toBeGreaterThanOrEqual(rows + queue);
  expect(accepted.every(one => one.whole && one.tokenIds.length === tokens && inOrder(one))).toBe(true);
  expect(refused.every(({ retryAfter }) => /^\d+$/.test(retryAfter ?? ''))).toBe(true);
});

/** Answers per millisecond with so many requests at a time: as many as the server holds, and none that it refuses for long. */
async function capacityOf(send: (i: number) => Promise<Streamed>, count: number, ms: number): Promise<number> {
  const started = performance.now();
  const timeLeft = () => started + ms - performance.now();
  let answered = 0;
  const work = async (_: unknown, i: number) => {
    while (timeLeft() > 0) {
      const { status } = await send(i);
      if (status !== 200) await new Promise(resolve => setTimeout(resolve, 20));
      else if (timeLeft() > 0) answered++;
    }
  };
  await Promise.all(Array.from({ length: count }, work));
  return Math.max(1, answered) / ms;
}

const ABORTS = isFull ? 10_000 : 100;

it(`${ABORTS} clients that leave at random: nothing of their requests stays`, { timeout: HOUR }, async () => {
  const frontEnd = await start({ maxNumSeqs: 64, maxNumQueuedReqs: 1000 });
  const random = mulberry32(7);
  let aborted = 0;
  const leave = async (i: number) => {
    const client = new AbortController();
    const timer = setTimeout(() => client.abort(), random() * 120);
    const body = { prompt: prompt(i), max_tokens: 400, stream: random() < 0.8, n: random() < 0.2 ? 2 : 1 };
    await stream(frontEnd.origin, body, { signal: client.signal }).catch(() => aborted++);
    clearTimeout(timer);
  };
  let next = 0;
  const work = async () => {
    while (next < ABORTS) await leave(next++);
  };
  const { use } = await watch(frontEnd, Promise.all(Array.from({ length: 50 }, work)));
  const left = performance.now();
  const gauges = ['num_requests_running', 'num_requests_waiting', 'kv_cache_usage_perc'];
  const values = () => Promise.all(gauges.map(name => metric(frontEnd.origin, `vllm:${name}`)));
  while ((await values()).some(value => value !== 0)) await new Promise(resolve => setTimeout(resolve, 20));
  tell('aborts', {
    clients: ABORTS,
    aborted,
    'all free after ms': atMost(performance.now() - left, GOALS.free),
    'event loop p99 ms': atMost(use.loopDelayP99, GOALS.loopP99),
  });
  expect(aborted).toBeGreaterThan(ABORTS / 10);
  expect((await stream(frontEnd.origin, { prompt: prompt(1), max_tokens: 3 })).tokenIds.length).toBe(3);
});

it('an engine that is killed again and again loses no token of any stream', { timeout: HOUR }, async () => {
  // Each engine computes again what those before it had: kills times streams times half of the tokens.
  const [streams, tokens, kills] = isFull ? [40, 60, 10] : [4, 24, 1];
  const { server, origin } = await startTinyServer({ engineProcess: true, maxNumQueuedReqs: 1000 });
  const { engine } = server;
  open.push(() => server.close(0));
  if (!(engine instanceof EngineProcess)) throw new Error('The engine must be a process of its own.');
  const body = { prompt: 'Once upon a time', max_tokens: tokens };
  const alone = await stream(origin, body);
  const loop = watchOwnLoop();
  const started = performance.now();
  let killed = 0;
  const downtimes: number[] = [];
  // Each engine computes something, or it would look as if a request ended them.
  const share = (streams * tokens) / (2 * kills);
  let due = engine.stats().generationTokens + share;
  /** As soon as a client has that much, however late this process is: no stream is whole then. */
  const onChunk = () => {
    if (killed === kills || engine.stats().generationTokens < due) return;
    const { pid } = engine;
    killed++;
    due = Number.POSITIVE_INFINITY;
    process.kill(pid!, 'SIGKILL');
    const from = performance.now();
    void until(() => engine.isOpen && engine.pid !== pid).then(() => {
      downtimes.push(performance.now() - from);
      due = engine.stats().generationTokens + share;
    });
  };
  const all = Promise.all(Array.from({ length: streams }, () => stream(origin, body, { onChunk })));
  const result = await all;
  const wrong = result.filter(
    one => !one.whole || one.text !== alone.text || `${one.tokenIds}` !== `${alone.tokenIds}`,
  );
  tell('kill -9 of the engine', {
    streams,
    kills: killed,
    wrong: wrong.length,
    'next engine after ms, p99': p99(downtimes),
    seconds: (performance.now() - started) / 1000,
    'event loop p99 ms, clients and front end': atMost(loop.p99, GOALS.loopP99),
  });
  expect(wrong).toEqual([]);
  expect(killed).toBeGreaterThan(kills / 2);
});

it('a drain under load loses nothing', { timeout: HOUR }, async () => {
  const frontEnd = await FrontEnd.start(tinyLlama);
  const count = isFull ? 500 : 40;
  const bodies = Array.from({ length: count }, (_, i) => ({ prompt: prompt(i), max_tokens: 400 }));
  let chunks = 0;
  const onChunk = () => {
    chunks++;
  };
  const ends = bodies.map(body =>
    stream(frontEnd.origin, body, { onChunk }).then(
      one => (one.status === 200 ? (one.whole && inOrder(one) ? 'whole' : 'cut') : 'refused'),
      () => 'refused',
    ),
  );
  while (chunks < count / 2) await new Promise(resolve => setTimeout(resolve, 1));
  const loop = watchOwnLoop();
  const started = performance.now();
  frontEnd.drain();
  const results = await Promise.all(ends);
  const number = (end: string) => results.filter(result => result === end).length;
  tell('drain', {
    streams: count,
    whole: number('whole'),
    refused: number('refused'),
    cut: number('cut'),
    ms: performance.now() - started,
    'event loop p99 ms, clients': loop.p99,
  });
  expect(number('cut')).toBe(0);
  expect(number('whole')).toBeGreaterThan(0);
  expect(number('whole') + number('refused')).toBe(count);
  await until(() =>
    fetch(`${frontEnd.origin}/health`).then(
      () => false,
      () => true,
    ),
  );
  await frontEnd.stop();
});

// In the gate test/server/transport.test.ts alone waits until clients are cut off.
it.runIf(isFull)('heads that come slowly are cut off, and cost others nothing', { timeout: HOUR }, async () => {
  const [slow, tokens] = [200, 50];
  const frontEnd = await start();
  const port = Number(new URL(frontEnd.origin).port);
  const started = performance.now();
  const clients = Array.from({ length: slow }, (_, i) => {
    const [head, body] = rawPost('/v1/completions', JSON.stringify({ prompt: 'x' })) as [string, Uint8Array];
    const half = i % 2 === 0 ? [head.slice(0, 20)] : [head, body.subarray(0, 3)];
    return new RawClient(port).send(...half);
  });
  frontEnd.reset();
  const beside: Streamed[] = [];
  for (let i = 0; i < 10; i++) beside.push(await stream(frontEnd.origin, { prompt: prompt(i), max_tokens: tokens }));
  await Promise.all(clients.map(client => client.closed));
  tell('slow heads and bodies', {
    clients: slow,
    'gone after s': (performance.now() - started) / 1000,
    'p99 between tokens beside them ms': p99(beside.flatMap(gapsOf)),
    'event loop p99 ms': atMost((await frontEnd.use()).loopDelayP99, GOALS.loopP99),
  });
  expect(clients.every(client => client.answer.status === 408)).toBe(true);
  expect(beside.every(one => one.whole && one.tokenIds.length === tokens)).toBe(true);
});
