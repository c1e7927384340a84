import type { EngineStats } from '@quire/core';
import type { Logger } from 'pino';

/** vLLM's. */
const INTERVAL_MS = 10_000;

/**
 * Logs throughput, requests and cache use every ten seconds, in the words of vLLM's line, which people know to read. An engine that
 * did nothing in that time and has nothing to do is logged as debug.
 */
export class StatsLogger {
  readonly #engine: { stats(): EngineStats };
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  #last: EngineStats;
  #lastTime = performance.now();

  constructor(engine: { stats(): EngineStats }, log: Logger, intervalMs = INTERVAL_MS) {
    this.#engine = engine;
    this.#log = log;
    this.#last = engine.stats();
    this.#timer = setInterval(() => this.#report(), intervalMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #report(): void {
    const [now, stats, last] = [performance.now(), this.#engine.stats(), this.#last];
    const seconds = (now - this.#lastTime) / 1000;
    const rate = (tokens: number) => `${(tokens / seconds).toFixed(1)} tokens/s`;
    const promptTokens = stats.promptTokens - last.promptTokens;
    const generationTokens = stats.generationTokens - last.generationTokens;
    const { prefixCacheQueries: queries, prefixCacheHits: hits } = stats;
    const idle = promptTokens + generationTokens + stats.numRequestsRunning + stats.numRequestsWaiting === 0;
    this.#log[idle ? 'debug' : 'info'](
      [
        `Avg prompt throughput: ${rate(promptTokens)}`,
        `Avg generation throughput: ${rate(generationTokens)}`,
        `Running: ${stats.numRequestsRunning} reqs`,
        `Waiting: ${stats.numRequestsWaiting} reqs`,
        `GPU KV cache usage: ${percent(stats.kvCacheUsage)}`,
        `Prefix cache hit rate: ${percent(queries === 0 ? 0 : hits / queries)}`,
      ].join(', '),
    );
    this.#last = stats;
    this.#lastTime = now;
  }
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}
