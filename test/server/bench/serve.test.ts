/** `quire bench serve`: what is sent, what is counted, and that it runs. */
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { benchFrontEnd } from '../../../packages/server/src/bench/serve/front-end.ts';
import { loadRows, percentile } from '../../../packages/server/src/bench/serve/load-rows.ts';
import { openTarget, runLoad } from '../../../packages/server/src/bench/serve/run-load.ts';
import { mulberry32, poissonArrivals, shareGptLengths } from '../../../packages/server/src/bench/serve/workload.ts';
import { runCli } from '../../../packages/server/src/cli/run-cli.ts';
import { build } from '../build.ts';
import { pieces } from '../fake-engine.ts';
import { type FakeServer, startFakeServer } from '../fake-server.ts';
import { tinyLlama } from '../tiny-server.ts';

beforeAll(build);
let fake: FakeServer | null = null;
afterEach(async () => {
  await fake?.server.close(0);
  fake = null;
});

describe('the workload', () => {
  it('has the lengths of the specification', () => {
    const lengths = shareGptLengths(1000, mulberry32(0));
    const sum = (name: 'input' | 'output') => lengths.reduce((total, length) => total + length[name], 0);
    expect([sum('input'), sum('output')]).toEqual([210_037, 182_165]);
    expect(lengths.slice(0, 4).map(({ input, output }) => [input, output])).toEqual([
      [436, 167],
      [27, 42],
      [32, 204],
      [9, 40],
    ]);
    for (const { input, output } of shareGptLengths(200, mulberry32(1), 256)) expect(input + output).toBeLessThan(257);
  });

  it('arrives as a Poisson process at exactly its rate', () => {
    const arrivals = poissonArrivals(2000, 8, mulberry32(3));
    const gaps = arrivals.map((time, i) => time - (arrivals[i - 1] ?? 0));
    const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - 1 / 8) ** 2, 0) / gaps.length);
    expect(arrivals.at(-1)).toBeCloseTo(250, 9);
    expect(Math.min(...gaps)).toBeGreaterThan(0);
    // The deviation of exponential gaps is their mean.
    expect(deviation * 8).toBeGreaterThan(0.9);
    expect(deviation * 8).toBeLessThan(1.1);
    expect(poissonArrivals(2, Number.POSITIVE_INFINITY, Math.random)).toEqual([0, 0]);
  });
});

describe('the figures', () => {
  it('are those of vLLM', () => {
    const stream = { failure: null, status: 200, promptTokens: 7 };
    const rows = loadRows({
      seconds: 2,
      results: [
        { ...stream, chunks: [100, 110, 130], latency: 140, outputTokens: 5 },
        { ...stream, chunks: [50], latency: 60, outputTokens: 1 },
        { ...stream, failure: 'gone', chunks: [1], latency: 1, outputTokens: 0 },
      ],
    });
    const value = (name: string) => rows.find(row => row.name === name)?.value;
    expect([value('serve.completed'), value('serve.failed')]).toEqual([2, 1]);
    expect([value('serve.throughput.requests'), value('serve.throughput.output')]).toEqual([1, 3]);
    expect(value('serve.throughput.total')).toBe(10);
    expect(value('serve.ttft.mean')).toBe(75);
    expect(value('serve.tpot.mean')).toBe(10);
    expect(value('serve.itl.mean')).toBe(15);
    expect(value('serve.e2e.median')).toBe(100);
    expect(percentile([1, 2, 3, 4], 0.5)).toBe(2.5);
  });

  it('count tokens, chunks and failures of a server', async () => {
    fake = await startFakeServer(request => pieces(request, 5, 'x', 5), { apiKeys: ['k'] });
    const load = { requestRate: Number.POSITIVE_INFINITY, maxConcurrency: 2, seed: 0 };
    const requests = Array(6).fill({ promptTokenIds: [1, 2, 3], outputTokens: 5 });
    const open = (key: string) => openTarget(`${fake!.origin}/v1/`, 'fake', key);
    const { results } = await runLoad(open('k'), requests, load);
    for (const { failure, chunks, outputTokens, promptTokens } of results) {
      // The fake engine ends with an output of its own.
      expect([failure, chunks.length, outputTokens, promptTokens]).toEqual([null, 6, 5, 3]);
      for (const [i, time] of chunks.entries()) expect(time).toBeGreaterThanOrEqual(chunks[i - 1] ?? 0);
    }
    const refused = await runLoad(open('wrong'), requests.slice(0, 1), load);
    expect(refused.results[0]).toMatchObject({ status: 401, failure: expect.stringContaining('status 401') });
    await fake.server.close(0);
    expect((await runLoad(open('k'), requests.slice(0, 1), load)).results[0]!.failure).toMatch(/ECONNREFUSED/);
  });
});

it('measures a server that runs', async () => {
  fake = await startFakeServer(request => pieces(request, 3, 'x', 1));
  let out = '';
  const write = (text: string) => {
    out += text;
  };
  const argv = ['bench', 'serve', '--base-url', fake.origin, '--num-prompts', '8', '--request-rate', '100', '--json'];
  expect(await runCli(argv, { env: {}, out: write, err: () => {} })).toBe(0);
  const report = JSON.parse(out) as { device: string; rows: { name: string; value: number }[] };
  expect(report.device).toBe(fake.origin);
  const names = report.rows.map(({ name }) => name);
  for (const name of ['serve.ttft.p99', 'serve.tpot.median', 'serve.itl.mean', 'serve.e2e.p99'])
    expect(names).toContain(name);
  expect(report.rows.find(({ name }) => name === 'serve.completed')?.value).toBe(8);
});

it('measures the front end alone', async () => {
  const rows = await benchFrontEnd(tinyLlama, 0.02);
  expect(rows.map(({ name }) => name)).toEqual([
    'serve.frontend.tokens',
    'serve.frontend.chunks',
    'serve.frontend.token.cpu',
    'serve.frontend.loop.p99',
    'serve.frontend.requests',
    'serve.frontend.request.cpu',
    'serve.frontend.paced.chunk.cpu',
    'serve.frontend.paced.loop.p99',
  ]);
  for (const { value } of rows) expect(value).toBeGreaterThan(0);
});
