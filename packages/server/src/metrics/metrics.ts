import type { EngineConfig, EngineObserver, FinishedRequest, StepReport } from '@quire/core';
import { Registry } from 'prom-client';
import { AdapterMetrics, addCacheConfig, EngineMetrics, type MetricsSource } from './engine-metrics.ts';
import { HttpMetrics } from './http-metrics.ts';
import { ProcessMetrics } from './process-metrics.ts';
import { RequestMetrics } from './request-metrics.ts';

export type { MetricsSource };

/**
 * vLLM's metric names, labels and buckets: what the engine counts, what it reports to its observer, the HTTP side and the process.
 * The list is in docs/metrics.md.
 */
export class Metrics implements EngineObserver {
  readonly http: HttpMetrics;
  readonly #registry = new Registry();
  readonly #engine: EngineMetrics;
  readonly #adapters: AdapterMetrics | null;
  readonly #requests: RequestMetrics;
  readonly #process: ProcessMetrics;

  constructor(engine: MetricsSource, modelName: string, config: Partial<EngineConfig> = {}) {
    const labels = { model_name: modelName, engine: '0' };
    this.#engine = new EngineMetrics(this.#registry, engine, labels);
    addCacheConfig(this.#registry, engine, config);
    const { enableLora = false, maxLoras = 1 } = config;
    this.#adapters = enableLora ? new AdapterMetrics(this.#registry, engine, maxLoras) : null;
    this.#requests = new RequestMetrics(this.#registry, labels, engine.limits.maxModelLen);
    this.http = new HttpMetrics(this.#registry);
    this.#process = new ProcessMetrics(this.#registry);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** The exposition text. */
  expose(): Promise<string> {
    this.#engine.update();
    this.#adapters?.update();
    this.#process.update();
    return this.#registry.metrics();
  }

  onStep(report: StepReport): void {
    this.#requests.onStep(report);
  }

  onRequestFinished(request: FinishedRequest): void {
    this.#requests.onRequestFinished(request);
  }

  stop(): void {
    this.#process.stop();
  }
}
