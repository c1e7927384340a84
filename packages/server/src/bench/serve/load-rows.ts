import type { BenchRow } from '../report.ts';
import type { LoadRun } from './run-load.ts';
import type { StreamResult } from './stream-client.ts';

/**
 * What vLLM's benchmark_serving tells, by its definitions: TTFT to the first chunk; TPOT (latency - TTFT) / (tokens - 1) of each
 * request with more than one; ITL all gaps between chunks of all requests; E2E latency. Requests that failed count in `failed`.
 */
export function loadRows({ results, seconds }: LoadRun): BenchRow[] {
  const whole = results.filter(({ failure }) => failure === null);
  const output = sum(whole.map(({ outputTokens }) => outputTokens));
  const input = sum(whole.map(({ promptTokens }) => promptTokens));
  return [
    row('serve.completed', whole.length, 'requests'),
    row('serve.failed', results.length - whole.length, 'requests'),
    row('serve.duration', seconds, 's'),
    row('serve.throughput.requests', whole.length / seconds, 'requests/s'),
    row('serve.throughput.output', output / seconds, 'tokens/s'),
    row('serve.throughput.total', (input + output) / seconds, 'tokens/s'),
    ...distribution('serve.ttft', whole.flatMap(firstChunk)),
    ...distribution('serve.tpot', whole.flatMap(timePerToken)),
    ...distribution('serve.itl', whole.flatMap(gaps)),
    ...distribution(
      'serve.e2e',
      whole.map(({ latency }) => latency),
    ),
  ];
}

export function row(name: string, value: number, unit: string): BenchRow {
  return { name, value: Math.round(value * 100) / 100, unit, limit: null, share: null };
}

function firstChunk({ chunks }: StreamResult): number[] {
  return chunks.slice(0, 1);
}

function timePerToken({ chunks, latency, outputTokens }: StreamResult): number[] {
  const [first] = chunks;
  return first === undefined || outputTokens < 2 ? [] : [(latency - first) / (outputTokens - 1)];
}

function gaps({ chunks }: StreamResult): number[] {
  return chunks.slice(1).map((time, i) => time - chunks[i]!);
}

/** Milliseconds. */
function distribution(name: string, values: number[]): BenchRow[] {
  if (values.length === 0) return [];
  values.sort((a, b) => a - b);
  return [
    row(`${name}.mean`, sum(values) / values.length, 'ms'),
    row(`${name}.median`, percentile(values, 0.5), 'ms'),
    row(`${name}.p99`, percentile(values, 0.99), 'ms'),
  ];
}

/** Between the two nearest, as numpy has it. values: sorted. */
export function percentile(values: readonly number[], share: number): number {
  const place = share * (values.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, values.length - 1);
  return values[below]! + (values[above]! - values[below]!) * (place - below);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
