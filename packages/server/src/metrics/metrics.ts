import type { FinishReason, RequestOutput } from '@quire/core';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { EngineStats, ServingEngine } from '../engine-port.ts';
import { interTokenLatency, requestLatency, timeToFirstToken, tokenBuckets } from './buckets.ts';

const labelNames = ['model_name', 'engine'] as const;

/** What is observed of one request while it runs. */
export interface RequestObserver {
  /** To be called with each output of the request, in order. */
  output(output: RequestOutput): void;
  /** To be called once when the request ends without a finished output. */
  ended(reason: 'abort' | 'error'): void;
}

/** vLLM's metric names, labels and buckets, fed by the engine's counters and by the outputs of requests. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #labels: Record<(typeof labelNames)[number], string>;
  readonly #timeToFirstToken: Histogram;
  readonly #interToken: Histogram;
  readonly #latency: Histogram;
  readonly #promptTokens: Histogram;
  readonly #generationTokens: Histogram;
  readonly #success: Counter;

  constructor(engine: ServingEngine, modelName: string) {
    this.#labels = { model_name: modelName, engine: '0' };
    this.#addEngineStats(() => engine.stats());
    this.#addCacheConfig(engine);
    const tokens = tokenBuckets(engine.limits.maxModelLen);
    this.#timeToFirstToken = this.#histogram('time_to_first_token_seconds', 'Time to first token.', timeToFirstToken);
    this.#interToken = this.#histogram('inter_token_latency_seconds', 'Time between tokens.', interTokenLatency);
    this.#latency = this.#histogram('e2e_request_latency_seconds', 'Time from arrival to last token.', requestLatency);
    this.#promptTokens = this.#histogram('request_prompt_tokens', 'Prompt tokens per request.', tokens);
    this.#generationTokens = this.#histogram('request_generation_tokens', 'Generated tokens per request.', tokens);
    this.#success = new Counter({
      name: 'vllm:request_success_total',
      help: 'Finished requests by reason.',
      labelNames: [...labelNames, 'finished_reason'],
      registers: [this.#registry],
    });
    for (const reason of ['stop', 'length', 'abort', 'error'] as const) this.#finish(reason, 0);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The exposition text. */
  expose(): Promise<string> {
    return this.#registry.metrics();
  }

  observe(): RequestObserver {
    let lastTime = 0;
    let tokens = 0;
    return {
      output: output => {
        const now = performance.now();
        const total = output.outputs.reduce((sum, choice) => sum + choice.tokenIds.length, 0);
        if (tokens > 0) this.#observeGaps(total - tokens, output.outputs.length, (now - lastTime) / 1000);
        if (total > tokens) lastTime = now;
        tokens = total;
        if (output.finished) this.#observeFinished(output);
      },
      ended: reason => this.#finish(reason, 1),
    };
  }

  /** `seconds` passed while each of `choices` sequences gained its share of `gained` tokens. */
  #observeGaps(gained: number, choices: number, seconds: number): void {
    const perToken = (seconds * choices) / gained;
    for (let i = 0; i < gained; i++) this.#interToken.observe(this.#labels, perToken);
  }

  #observeFinished(output: RequestOutput): void {
    const { arrival, firstToken, finished } = output.metrics;
    if (firstToken !== null) this.#timeToFirstToken.observe(this.#labels, (firstToken - arrival) / 1000);
    if (finished !== null) this.#latency.observe(this.#labels, (finished - arrival) / 1000);
    this.#promptTokens.observe(this.#labels, output.promptTokenIds.length);
    for (const choice of output.outputs) {
      this.#generationTokens.observe(this.#labels, choice.tokenIds.length);
      this.#finish(choice.finishReason ?? 'error', 1);
    }
  }

  #finish(reason: FinishReason, count: number): void {
    this.#success.inc({ ...this.#labels, finished_reason: reason }, count);
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `vllm:${name}`, help, labelNames, buckets, registers: [this.#registry] });
  }

  /** Gauges and counters that the engine keeps: read when they are asked for. */
  #addEngineStats(stats: () => EngineStats): void {
    const gauge = (name: string, help: string, read: (stats: EngineStats) => number) => {
      const labels = this.#labels;
      const collect = function (this: Gauge) {
        this.set(labels, read(stats()));
      };
      new Gauge({ name: `vllm:${name}`, help, labelNames, registers: [this.#registry], collect });
    };
    const counter = (name: string, help: string, read: (stats: EngineStats) => number) => {
      const labels = this.#labels;
      const collect = function (this: Counter) {
        this.reset();
        this.inc(labels, read(stats()));
      };
      new Counter({ name: `vllm:${name}_total`, help, labelNames, registers: [this.#registry], collect });
    };
    gauge('num_requests_running', 'Requests that the engine computes.', s => s.numRequestsRunning);
    gauge('num_requests_waiting', 'Requests that wait for the engine.', s => s.numRequestsWaiting);
    gauge('kv_cache_usage_perc', 'Share of KV cache blocks in use, 0 to 1.', s => s.kvCacheUsage);
    counter('prefix_cache_queries', 'Prompt tokens looked up in the prefix cache.', s => s.prefixCacheQueries);
    counter('prefix_cache_hits', 'Prompt tokens found in the prefix cache.', s => s.prefixCacheHits);
    counter('num_preemptions', 'Requests preempted.', s => s.numPreemptions);
    counter('prompt_tokens', 'Prompt tokens processed.', s => s.promptTokens);
    counter('generation_tokens', 'Tokens generated.', s => s.generationTokens);
  }

  #addCacheConfig(engine: ServingEngine): void {
    const info = new Gauge({
      name: 'vllm:cache_config_info',
      help: 'Configuration of the KV cache, as labels.',
      labelNames: ['block_size', 'num_gpu_blocks', 'engine'],
      registers: [this.#registry],
    });
    const { blockSize, numBlocks } = engine.limits;
    info.set({ block_size: blockSize, num_gpu_blocks: numBlocks, engine: '0' }, 1);
  }
}
