import type { EngineObserver, EngineStats, FinishedRequest, StepReport } from '@quire/core';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { interTokenLatency, requestLatency, timeToFirstToken, tokenBuckets } from './buckets.ts';

const labelNames = ['model_name', 'engine'] as const;
type Labels = Record<(typeof labelNames)[number], string>;

export interface MetricsSource {
  stats(): EngineStats;
  readonly limits: { readonly maxModelLen: number; readonly blockSize: number; readonly numBlocks: number };
}

/** vLLM's metric names, labels and buckets, fed by the engine's counters and by what the engine reports to its observer. */
export class Metrics implements EngineObserver {
  readonly #registry = new Registry();
  readonly #labels: Labels;
  readonly #timeToFirstToken: Histogram;
  readonly #interToken: Histogram;
  readonly #latency: Histogram;
  readonly #promptTokens: Histogram;
  readonly #generationTokens: Histogram;

  constructor(engine: MetricsSource, modelName: string) {
    this.#labels = { model_name: modelName, engine: '0' };
    addEngineStats(this.#registry, this.#labels, engine);
    addCacheConfig(this.#registry, engine);
    const tokens = tokenBuckets(engine.limits.maxModelLen);
    this.#timeToFirstToken = this.#histogram('time_to_first_token_seconds', 'Time to first token.', timeToFirstToken);
    this.#interToken = this.#histogram('inter_token_latency_seconds', 'Time between tokens.', interTokenLatency);
    this.#latency = this.#histogram('e2e_request_latency_seconds', 'Time from arrival to last token.', requestLatency);
    this.#promptTokens = this.#histogram('request_prompt_tokens', 'Prompt tokens per request.', tokens);
    this.#generationTokens = this.#histogram('request_generation_tokens', 'Generated tokens per request.', tokens);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The exposition text. */
  expose(): Promise<string> {
    return this.#registry.metrics();
  }

  onStep(report: StepReport): void {
    for (const ms of report.timeToFirstToken) this.#timeToFirstToken.observe(this.#labels, ms / 1000);
    for (const ms of report.interTokenLatency) this.#interToken.observe(this.#labels, ms / 1000);
  }

  onRequestFinished({ metrics, numPromptTokens, numGenerationTokens }: FinishedRequest): void {
    const { arrival, finished } = metrics;
    if (finished !== null) this.#latency.observe(this.#labels, (finished - arrival) / 1000);
    this.#promptTokens.observe(this.#labels, numPromptTokens);
    this.#generationTokens.observe(this.#labels, numGenerationTokens);
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `vllm:${name}`, help, labelNames, buckets, registers: [this.#registry] });
  }
}

type Read = (stats: EngineStats) => number;

const gauges: readonly (readonly [name: string, help: string, read: Read])[] = [
  ['num_requests_running', 'Requests that the engine computes.', s => s.numRequestsRunning],
  ['num_requests_waiting', 'Requests that wait for the engine.', s => s.numRequestsWaiting],
  ['kv_cache_usage_perc', 'Share of KV cache blocks in use, 0 to 1.', s => s.kvCacheUsage],
];
const counters: typeof gauges = [
  ['prefix_cache_queries', 'Prompt tokens looked up in the prefix cache.', s => s.prefixCacheQueries],
  ['prefix_cache_hits', 'Prompt tokens found in the prefix cache.', s => s.prefixCacheHits],
  ['num_preemptions', 'Requests preempted.', s => s.numPreemptions],
  ['spec_decode_num_draft_tokens', 'Tokens guessed ahead by speculation.', s => s.draftTokens],
  ['spec_decode_num_accepted_tokens', 'Tokens guessed ahead that were right.', s => s.acceptedTokens],
  ['prompt_tokens', 'Prompt tokens processed.', s => s.promptTokens],
  ['generation_tokens', 'Tokens generated.', s => s.generationTokens],
];

/** What the engine keeps itself is read when a scrape asks for it. */
function addEngineStats(registry: Registry, labels: Labels, engine: MetricsSource): void {
  const registers = [registry];
  for (const [name, help, read] of gauges) {
    const collect = function (this: Gauge) {
      this.set(labels, read(engine.stats()));
    };
    new Gauge({ name: `vllm:${name}`, help, labelNames, registers, collect });
  }
  for (const [name, help, read] of counters) {
    const collect = function (this: Counter) {
      this.reset();
      this.inc(labels, read(engine.stats()));
    };
    new Counter({ name: `vllm:${name}_total`, help, labelNames, registers, collect });
  }
  const collect = function (this: Counter) {
    this.reset();
    for (const [reason, count] of Object.entries(engine.stats().finished)) {
      this.inc({ ...labels, finished_reason: reason }, count);
    }
  };
  const help = 'Finished requests by reason.';
  const withReason = [...labelNames, 'finished_reason'];
  new Counter({ name: 'vllm:request_success_total', help, labelNames: withReason, registers, collect });
}

function addCacheConfig(registry: Registry, { limits }: MetricsSource): void {
  const info = new Gauge({
    name: 'vllm:cache_config_info',
    help: 'Configuration of the KV cache, as labels.',
    labelNames: ['block_size', 'num_gpu_blocks', 'engine'],
    registers: [registry],
  });
  info.set({ block_size: limits.blockSize, num_gpu_blocks: limits.numBlocks, engine: '0' }, 1);
}
