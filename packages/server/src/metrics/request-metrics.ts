import type { FinishedRequest, StepReport } from '@quire/core';
import type { Registry } from 'prom-client';
import {
  completionsPerRequest,
  interTokenLatency,
  requestLatency,
  timeToFirstToken,
  tokenBuckets,
  tokensPerIteration,
} from './buckets.ts';
import type { EngineLabels } from './labels.ts';
import { Series } from './series.ts';

type Period = 'e2e' | 'queue' | 'inference' | 'prefill' | 'decode' | 'perToken';

/** Histograms of what the engine reports: steps, and requests that ended. */
export class RequestMetrics {
  readonly #step: Record<'timeToFirstToken' | 'interToken' | 'olderInterToken' | 'iterationTokens', Series>;
  readonly #seconds: Record<Period, Series>;
  readonly #tokens: Record<'prompt' | 'generation' | 'longest' | 'maxTokens' | 'computed' | 'n', Series>;

  constructor(registry: Registry, labels: EngineLabels, maxModelLen: number) {
    const tokens = tokenBuckets(maxModelLen);
    const add = (name: string, help: string, buckets: number[]) =>
      new Series(registry, `vllm:${name}`, help, buckets, labels);
    this.#step = {
      timeToFirstToken: add('time_to_first_token_seconds', 'Time from arrival to first token.', timeToFirstToken),
      interToken: add('inter_token_latency_seconds', 'Time between tokens.', interTokenLatency),
      olderInterToken: add(
        'time_per_output_token_seconds',
        'Older name of vllm:inter_token_latency_seconds.',
        interTokenLatency,
      ),
      iterationTokens: add('iteration_tokens_total', 'Tokens computed per step.', tokensPerIteration),
    };
    this.#seconds = {
      e2e: add('e2e_request_latency_seconds', 'Time from arrival to last token.', requestLatency),
      queue: add('request_queue_time_seconds', 'Time from arrival until the request first ran.', requestLatency),
      inference: add('request_inference_time_seconds', 'Time from first run to last token.', requestLatency),
      prefill: add('request_prefill_time_seconds', 'Time from first run to first token.', requestLatency),
      decode: add('request_decode_time_seconds', 'Time from first to last token.', requestLatency),
      perToken: add(
        'request_time_per_output_token_seconds',
        'Mean time between tokens of a request.',
        interTokenLatency,
      ),
    };
    this.#tokens = {
      prompt: add('request_prompt_tokens', 'Prompt tokens per request.', tokens),
      generation: add('request_generation_tokens', 'Generated tokens per request.', tokens),
      longest: add('request_max_num_generation_tokens', 'Tokens of the longest completion of a request.', tokens),
      maxTokens: add('request_params_max_tokens', 'max_tokens of requests.', tokens),
      computed: add('request_prefill_kv_computed_tokens', 'Prompt tokens that no cache had, per request.', tokens),
      n: add('request_params_n', 'n of requests.', completionsPerRequest),
    };
  }

  onStep({ timeToFirstToken: first, interTokenLatency: between, numTokens, times }: StepReport): void {
    const step = this.#step;
    for (const ms of first) step.timeToFirstToken.observe(ms / 1000);
    for (const ms of between) {
      step.interToken.observe(ms / 1000);
      step.olderInterToken.observe(ms / 1000);
    }
    step.iterationTokens.observe(numTokens, times);
  }

  onRequestFinished(request: FinishedRequest): void {
    const tokens = this.#tokens;
    tokens.prompt.observe(request.numPromptTokens);
    tokens.generation.observe(request.numGenerationTokens);
    tokens.longest.observe(request.maxNumGenerationTokens);
    tokens.maxTokens.observe(request.maxTokens);
    tokens.computed.observe(request.numPromptTokens - request.numCachedTokens);
    tokens.n.observe(request.n);
    this.#observeTimes(request);
  }

  /** A request that ended before it ran, or before its first token, has only the times that it came to. */
  #observeTimes({ metrics, maxNumGenerationTokens }: FinishedRequest): void {
    const { arrival, firstScheduled, firstToken, finished } = metrics;
    if (finished === null) return;
    this.#observe('e2e', finished - arrival);
    if (firstScheduled === null) return;
    this.#observe('queue', firstScheduled - arrival);
    this.#observe('inference', finished - firstScheduled);
    if (firstToken === null) return;
    this.#observe('prefill', firstToken - firstScheduled);
    this.#observe('decode', finished - firstToken);
    if (maxNumGenerationTokens > 1) this.#observe('perToken', (finished - firstToken) / (maxNumGenerationTokens - 1));
  }

  #observe(name: Period, milliseconds: number): void {
    this.#seconds[name].observe(milliseconds / 1000);
  }
}
