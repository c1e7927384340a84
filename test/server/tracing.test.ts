/** Spans as an SDK of OpenTelemetry gets them. */
import { propagation, SpanKind, trace } from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { startTinyServer, type TinyServer } from './tiny-server.ts';

const exporter = new InMemorySpanExporter();
let tiny: TinyServer;
beforeAll(async () => {
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  tiny = await startTinyServer();
});
beforeEach(() => exporter.reset());
afterAll(async () => {
  await tiny.server.close(0);
  trace.disable();
  propagation.disable();
});

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const CALLER = 'b7ad6b7169203331';
const traceparent = `00-${TRACE}-${CALLER}-01`;

async function complete(body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${tiny.origin}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ prompt: 'Once upon', max_tokens: 4, ignore_eos: true, ...body }),
  });
}

/** Spans end once the client has its answer, a moment later. */
async function spans(count: number): Promise<ReadableSpan[]> {
  await expect.poll(() => exporter.getFinishedSpans().length).toBe(count);
  return exporter.getFinishedSpans();
}

const start = ({ startTime: [seconds, nanoseconds] }: ReadableSpan) => seconds + nanoseconds / 1e9;
const length = ({ duration: [seconds, nanoseconds] }: ReadableSpan) => seconds + nanoseconds / 1e9;

it('continue the trace of the caller: the request, its prompt, and its phases', async () => {
  const before = Date.now() / 1000;
  const response = await complete({ temperature: 0.5, top_p: 0.9 }, { traceparent });
  await response.text();
  const all = await spans(5);
  const named = (name: string) => all.find(span => span.name === name)!;
  const [http, llm] = [named('POST /v1/completions'), named('llm_request')];
  expect(new Set(all.map(span => span.spanContext().traceId))).toEqual(new Set([TRACE]));
  expect(http.parentSpanContext?.spanId).toBe(CALLER);
  expect(llm.parentSpanContext?.spanId).toBe(http.spanContext().spanId);
  for (const phase of ['queue', 'prefill', 'decode']) {
    expect(named(phase).parentSpanContext?.spanId).toBe(llm.spanContext().spanId);
  }
  expect([http.kind, llm.kind]).toEqual([SpanKind.SERVER, SpanKind.SERVER]);
  expect(http.attributes).toEqual({
    'http.request.method': 'POST',
    'url.path': '/v1/completions',
    'http.route': '/v1/completions',
    'http.response.status_code': 200,
  });
  expect(llm.attributes).toMatchObject({
    'gen_ai.response.model': 'tiny',
    'gen_ai.response.finish_reasons': ['length'],
    'gen_ai.request.id': response.headers.get('x-request-id'),
    'gen_ai.request.n': 1,
    'gen_ai.request.max_tokens': 4,
    'gen_ai.request.temperature': 0.5,
    'gen_ai.request.top_p': 0.9,
    'gen_ai.usage.completion_tokens': 4,
  });
  const latency = (name: string) => llm.attributes[`gen_ai.latency.${name}`] as number;
  expect(latency('time_in_queue') + latency('time_in_model_inference')).toBeCloseTo(latency('e2e'));
  expect(latency('time_in_model_prefill') + latency('time_in_model_decode')).toBeCloseTo(
    latency('time_in_model_inference'),
  );
  expect(length(llm)).toBeCloseTo(latency('e2e'), 3);
  expect(length(named('queue')) + length(named('prefill')) + length(named('decode'))).toBeCloseTo(length(llm), 3);
  expect(start(http)).toBeGreaterThan(before - 1);
  expect(start(llm)).toBeGreaterThanOrEqual(start(http) - 0.01);
});

it('begin a trace where there is none, one span for each prompt, streamed too', async () => {
  const response = await complete({ prompt: ['Once', 'The dog'], stream: true, n: 2, temperature: 1 });
  expect(await response.text()).toContain('[DONE]');
  const all = await spans(9);
  expect(
    all.filter(({ name }) => name === 'llm_request').map(({ attributes }) => attributes['gen_ai.request.n']),
  ).toEqual([2, 2]);
  expect(all.at(-1)!.parentSpanContext).toBeUndefined();
});

it('tell of requests that are refused and of clients that leave, and not of probes', async () => {
  await (await complete({ temperature: -1 })).text();
  await (await fetch(`${tiny.origin}/health`)).text();
  await (await fetch(`${tiny.origin}/nowhere`)).text();
  const refused = await spans(2);
  expect(refused.map(({ name, attributes }) => [name, attributes['http.response.status_code']])).toEqual([
    ['POST /v1/completions', 400],
    ['GET', 404],
  ]);
  exporter.reset();
  const leave = new AbortController();
  const stream = await fetch(`${tiny.origin}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'Once', max_tokens: 400, ignore_eos: true, stream: true }),
    signal: leave.signal,
  });
  await stream.body!.getReader().read();
  leave.abort();
  const left = await spans(5);
  const llm = left.find(({ name }) => name === 'llm_request')!;
  expect(llm.attributes['gen_ai.response.finish_reasons']).toEqual(['abort']);
  const http = left.find(({ name }) => name === 'POST /v1/completions')!;
  expect(llm.parentSpanContext?.spanId).toBe(http.spanContext().spanId);
});

it('are not made of what the caller does not sample', async () => {
  await (await complete({}, { traceparent: `00-${TRACE}-${CALLER}-00` })).text();
  await new Promise(resolve => setTimeout(resolve, 100));
  expect(exporter.getFinishedSpans()).toEqual([]);
});
