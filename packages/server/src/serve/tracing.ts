import type { IncomingHttpHeaders } from 'node:http';
import {
  type Attributes,
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { EngineObserver, FinishedRequest } from '@quire/core';
import { version } from '../version.ts';

/** A request that the client left may end in the engine a little after its connection. */
const KEPT_MS = 5_000;

/** The span of one HTTP request. */
export interface RequestTrace {
  /** For lines of the log. null where nobody records the span. */
  readonly traceId: string | null;
  /** `route`: the path of the route, with its `*`; null where there is none. */
  end(status: number, route: string | null): void;
}

/**
 * Spans of OpenTelemetry: one per HTTP request, which continues the trace of its `traceparent`, and below it one `llm_request` per
 * prompt with vLLM's attributes. Recorded only where the program has set up an SDK; otherwise this costs next to nothing.
 */
export class Tracing implements EngineObserver {
  readonly #tracer: Tracer = trace.getTracer('quire', version);
  readonly #model: string;
  /** By id of request: where the spans of its prompts belong. */
  readonly #parents = new Map<string, Context>();

  constructor(model: string) {
    this.#model = model;
  }

  begin(request: { method: string; path: string; requestId: string }, headers: IncomingHttpHeaders): RequestTrace {
    const { method, path, requestId } = request;
    const parent = propagation.extract(ROOT_CONTEXT, headers);
    const attributes = { 'http.request.method': method, 'url.path': path.slice(0, 200) };
    const span = this.#tracer.startSpan(method, { kind: SpanKind.SERVER, attributes }, parent);
    if (!span.isRecording()) return { traceId: null, end: () => span.end() };
    this.#parents.set(requestId, trace.setSpan(parent, span));
    const end = (status: number, route: string | null) => {
      endHttp(span, method, status, route);
      setTimeout(() => this.#parents.delete(requestId), KEPT_MS).unref();
    };
    return { traceId: span.spanContext().traceId, end };
  }

  onRequestFinished(request: FinishedRequest): void {
    const parent = this.#parents.get(request.requestId);
    const { arrival, finished } = request.metrics;
    if (parent === undefined || finished === null) return;
    const attributes = attributesOf(request, this.#model);
    const options = { kind: SpanKind.SERVER, startTime: epoch(arrival), attributes };
    const span = this.#tracer.startSpan('llm_request', options, parent);
    if (request.finishReason === 'error') span.setStatus({ code: SpanStatusCode.ERROR });
    this.#addPhases(request, trace.setSpan(context.active(), span));
    span.end(epoch(finished));
  }

  /** What a request waited for and what was computed for it, one after the other. */
  #addPhases({ metrics }: FinishedRequest, parent: Context): void {
    const { arrival, firstScheduled, firstToken, finished } = metrics;
    const phases = [
      ['queue', arrival, firstScheduled ?? finished],
      ['prefill', firstScheduled, firstToken ?? finished],
      ['decode', firstToken, finished],
    ] as const;
    for (const [name, from, to] of phases) {
      if (from === null || to === null) continue;
      this.#tracer.startSpan(name, { startTime: epoch(from) }, parent).end(epoch(to));
    }
  }
}

function endHttp(span: Span, method: string, status: number, route: string | null): void {
  if (route !== null) {
    span.updateName(`${method} ${route}`);
    span.setAttribute('http.route', route);
  }
  span.setAttribute('http.response.status_code', status);
  if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
}

/** Names are vLLM's. Times are in seconds. */
function attributesOf(request: FinishedRequest, model: string): Attributes {
  const { arrival, firstScheduled, firstToken, finished } = request.metrics;
  return {
    'gen_ai.response.model': model,
    'gen_ai.response.finish_reasons': [request.finishReason],
    'gen_ai.request.id': request.requestId,
    'gen_ai.request.n': request.n,
    'gen_ai.request.max_tokens': request.maxTokens,
    'gen_ai.request.temperature': request.temperature,
    'gen_ai.request.top_p': request.topP,
    'gen_ai.usage.prompt_tokens': request.numPromptTokens,
    'gen_ai.usage.completion_tokens': request.numGenerationTokens,
    'gen_ai.usage.cached_tokens': request.numCachedTokens,
    ...seconds('gen_ai.latency.time_in_queue', arrival, firstScheduled),
    ...seconds('gen_ai.latency.time_to_first_token', arrival, firstToken),
    ...seconds('gen_ai.latency.e2e', arrival, finished),
    ...seconds('gen_ai.latency.time_in_model_prefill', firstScheduled, firstToken),
    ...seconds('gen_ai.latency.time_in_model_decode', firstToken, finished),
    ...seconds('gen_ai.latency.time_in_model_inference', firstScheduled, finished),
  };
}

function seconds(name: string, from: number | null, to: number | null): Attributes {
  return from === null || to === null ? {} : { [name]: (to - from) / 1000 };
}

/** Milliseconds since 1970 of a time on this process' monotonic clock. */
function epoch(time: number): number {
  return performance.timeOrigin + time;
}
