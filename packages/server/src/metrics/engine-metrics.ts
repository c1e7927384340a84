import type { EngineConfig, EngineStats } from '@quire/core';
import { Counter, Gauge, type Registry } from 'prom-client';
import { type EngineLabels, engineLabels } from './labels.ts';

export interface MetricsSource {
  stats(): EngineStats;
  readonly limits: { readonly maxModelLen: number; readonly blockSize: number; readonly numBlocks: number };
  /** Absent where an engine cannot sleep. */
  readonly isSleeping?: boolean;
}

type Read = (stats: EngineStats) => number;
type Named = readonly (readonly [name: string, help: string, read: Read])[];

/** The last three are names of vLLM's first engine, which routers still read. */
const gauges: Named = [
  ['num_requests_running', 'Requests that the engine computes.', s => s.numRequestsRunning],
  ['num_requests_waiting', 'Requests that wait for the engine.', s => s.numRequestsWaiting],
  ['kv_cache_usage_perc', 'Share of KV cache blocks in use, 0 to 1.', s => s.kvCacheUsage],
  ['gpu_cache_usage_perc', 'Older name of vllm:kv_cache_usage_perc.', s => s.kvCacheUsage],
  ['num_requests_swapped', 'Always 0: requests that give their blocks back wait.', () => 0],
];
const counters: Named = [
  ['prefix_cache_queries', 'Prompt tokens looked up in the prefix cache.', s => s.prefixCacheQueries],
  ['prefix_cache_hits', 'Prompt tokens found in the prefix cache.', s => s.prefixCacheHits],
  ['gpu_prefix_cache_queries', 'Older name of vllm:prefix_cache_queries_total.', s => s.prefixCacheQueries],
  ['gpu_prefix_cache_hits', 'Older name of vllm:prefix_cache_hits_total.', s => s.prefixCacheHits],
  ['num_preemptions', 'Requests preempted.', s => s.numPreemptions],
  ['prompt_tokens', 'Prompt tokens processed.', s => s.promptTokens],
  ['prompt_tokens_cached', 'Prompt tokens that the prefix cache had.', s => s.cachedPromptTokens],
  ['generation_tokens', 'Tokens generated.', s => s.generationTokens],
  ['spec_decode_num_drafts', 'Guesses of speculation, each of one or more tokens.', s => s.numDrafts],
  ['spec_decode_num_draft_tokens', 'Tokens guessed ahead by speculation.', s => s.draftTokens],
  ['spec_decode_num_accepted_tokens', 'Tokens guessed ahead that were right.', s => s.acceptedTokens],
];

/** One more label, and the value of each of its values. */
type Split = (stats: EngineStats) => readonly (readonly [value: string, count: number])[];
const splitCounters: readonly (readonly [name: string, help: string, label: string, split: Split])[] = [
  ['request_success', 'Finished requests by reason.', 'finished_reason', s => Object.entries(s.finished)],
  [
    'prompt_tokens_by_source',
    'Prompt tokens by where their keys and values came from.',
    'source',
    s => [
      ['local_compute', s.promptTokens - s.cachedPromptTokens],
      ['local_cache_hit', s.cachedPromptTokens],
    ],
  ],
  [
    'spec_decode_num_accepted_tokens_per_pos',
    'Tokens guessed ahead that were right, by their place in the guess.',
    'position',
    s => s.acceptedPerPosition.map((count, position) => [String(position), count]),
  ],
];

/** What the engine counts itself, read once per scrape. */
export class EngineMetrics {
  readonly #engine: MetricsSource;
  readonly #labels: EngineLabels;
  readonly #updates: ((stats: EngineStats) => void)[] = [];

  constructor(registry: Registry, engine: MetricsSource, labels: EngineLabels) {
    this.#engine = engine;
    this.#labels = labels;
    const registers = [registry];
    for (const [name, help, read] of gauges) {
      const gauge = new Gauge({ name: `vllm:${name}`, help, labelNames: engineLabels, registers });
      this.#updates.push(stats => gauge.set(labels, read(stats)));
    }
    for (const [name, help, read] of counters) {
      const counter = new Counter({ name: `vllm:${name}_total`, help, labelNames: engineLabels, registers });
      this.#updates.push(stats => setCounter(counter, [[labels, read(stats)]]));
    }
    for (const split of splitCounters) this.#addSplit(registry, ...split);
    if (engine.isSleeping !== undefined) this.#addSleepState(registry);
  }

  update(): void {
    const stats = this.#engine.stats();
    for (const update of this.#updates) update(stats);
  }

  #addSplit(registry: Registry, name: string, help: string, label: string, split: Split): void {
    const labelNames = [...engineLabels, label];
    const counter = new Counter({ name: `vllm:${name}_total`, help, labelNames, registers: [registry] });
    const labels = this.#labels;
    this.#updates.push(stats =>
      setCounter(
        counter,
        split(stats).map(([value, count]) => [{ ...labels, [label]: value }, count]),
      ),
    );
  }

  /** vLLM tells two depths of sleep apart; here the engine tells only that it sleeps. */
  #addSleepState(registry: Registry): void {
    const labelNames = [...engineLabels, 'sleep_state'];
    const help = '1 for the state that the engine is in.';
    const gauge = new Gauge({ name: 'vllm:engine_sleep_state', help, labelNames, registers: [registry] });
    this.#updates.push(() => {
      const isSleeping = this.#engine.isSleeping ? 1 : 0;
      gauge.set({ ...this.#labels, sleep_state: 'awake' }, 1 - isSleeping);
      gauge.set({ ...this.#labels, sleep_state: 'weights_offloaded' }, isSleeping);
      gauge.set({ ...this.#labels, sleep_state: 'discard_all' }, 0);
    });
  }
}

/** Which adapters run and wait: one series, whose value is the time of its last change in Unix seconds. */
export class AdapterMetrics {
  readonly #gauge: Gauge;
  readonly #engine: MetricsSource;
  readonly #maxLora: string;
  #shown = '';

  constructor(registry: Registry, engine: MetricsSource, maxLoras: number) {
    this.#engine = engine;
    this.#maxLora = String(maxLoras);
    const help = 'Adapters of running and waiting requests, as labels; the value is the time of the last change.';
    const labelNames = ['max_lora', 'running_lora_adapters', 'waiting_lora_adapters'];
    this.#gauge = new Gauge({ name: 'vllm:lora_requests_info', help, labelNames, registers: [registry] });
  }

  update(): void {
    const { runningAdapters, waitingAdapters } = this.#engine.stats();
    const labels = {
      max_lora: this.#maxLora,
      running_lora_adapters: runningAdapters.join(','),
      waiting_lora_adapters: waitingAdapters.join(','),
    };
    const shown = JSON.stringify(labels);
    if (shown === this.#shown) return;
    this.#shown = shown;
    // Readers take the series of the highest value: older ones would only pile up.
    this.#gauge.reset();
    this.#gauge.set(labels, Date.now() / 1000);
  }
}

/** Counters of this library only grow by steps; these are counted elsewhere. */
function setCounter(counter: Counter, series: readonly (readonly [Record<string, string>, number])[]): void {
  counter.reset();
  for (const [labels, value] of series) counter.inc(labels, value);
}

/** The configuration of the KV cache as labels of one series, which routers read block size and number of blocks from. */
export function addCacheConfig(registry: Registry, { limits }: MetricsSource, config: Partial<EngineConfig>): void {
  const labels = {
    block_size: limits.blockSize,
    cache_dtype: config.kvCacheDtype ?? 'auto',
    enable_prefix_caching: config.enablePrefixCaching ?? true,
    gpu_memory_utilization: config.gpuMemoryUtilization ?? 'None',
    num_gpu_blocks: limits.numBlocks,
    num_gpu_blocks_override: config.numGpuBlocksOverride ?? 'None',
    swap_space: config.swapSpace ?? 0,
    engine: '0',
  };
  const info = new Gauge({
    name: 'vllm:cache_config_info',
    help: 'Configuration of the KV cache, as labels.',
    labelNames: Object.keys(labels),
    registers: [registry],
  });
  info.set(Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, pythonic(value)])), 1);
}

/** As vLLM prints its configuration. */
function pythonic(value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return String(value);
}
