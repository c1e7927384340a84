import type { EngineStats } from '@quire/core';
import { type Logger, pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { StatsLogger } from '../../packages/server/src/serve/stats-logger.ts';
import { startTinyServer } from './tiny-server.ts';

describe('StatsLogger', () => {
  const lines: { level: string; message: string }[] = [];
  const log = Object.fromEntries(
    ['info', 'debug'].map(level => [level, (message: string) => lines.push({ level, message })]),
  ) as unknown as Logger;
  let stats: EngineStats;
  let logger: StatsLogger;
  beforeEach(() => {
    lines.length = 0;
    vi.useFakeTimers();
    stats = { promptTokens: 100, generationTokens: 50, numRequestsRunning: 0, numRequestsWaiting: 0 } as EngineStats;
    Object.assign(stats, { kvCacheUsage: 0, prefixCacheQueries: 0, prefixCacheHits: 0 });
    logger = new StatsLogger({ stats: () => ({ ...stats }) }, log);
  });
  afterEach(() => {
    logger.stop();
    vi.useRealTimers();
  });

  it("writes vLLM's line with the rates of the last ten seconds", () => {
    Object.assign(stats, { promptTokens: 300, generationTokens: 1285, numRequestsRunning: 3, numRequestsWaiting: 7 });
    Object.assign(stats, { kvCacheUsage: 0.128, prefixCacheQueries: 400, prefixCacheHits: 100 });
    vi.advanceTimersByTime(10_000);
    const message =
      'Avg prompt throughput: 20.0 tokens/s, Avg generation throughput: 123.5 tokens/s, Running: 3 reqs, Waiting: 7 reqs, ' +
      'GPU KV cache usage: 12.8%, Prefix cache hit rate: 25.0%';
    expect(lines).toEqual([{ level: 'info', message }]);
    vi.advanceTimersByTime(10_000);
    expect(lines[1]!.message).toContain('Avg generation throughput: 0.0 tokens/s, Running: 3 reqs');
  });

  it('says little while nothing happens, and nothing once stopped', () => {
    vi.advanceTimersByTime(10_000);
    expect(lines.map(({ level }) => level)).toEqual(['debug']);
    logger.stop();
    vi.advanceTimersByTime(100_000);
    expect(lines).toHaveLength(1);
  });
});

it.each([
  [false, 1],
  [true, 0],
])('disableLogStats %s: a server logs its statistics %i times in ten seconds', async (disableLogStats, times) => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const lines: string[] = [];
  const log = pino({ level: 'debug' }, { write: line => void lines.push(line) });
  const { server } = await startTinyServer({ disableLogStats, log, numGpuBlocksOverride: 64 });
  try {
    vi.advanceTimersByTime(10_000);
    expect(lines.filter(line => line.includes('Avg prompt throughput'))).toHaveLength(times);
  } finally {
    vi.useRealTimers();
    await server.close(0);
  }
});
