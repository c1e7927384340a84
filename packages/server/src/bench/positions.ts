import type { AsyncLLM } from '@quire/core';
import type { BenchRow } from './report.ts';
import { percentile } from './serve/load-rows.ts';

const BANDS = 8;
const RUNS = 64;
/** Milliseconds after which no further run begins. */
const ENOUGH = 90_000;
/** The most that a token may cost more or less than another beside attention. */
const GOAL = 0.1;

/** Positions up to `end`, and milliseconds per token there. */
export interface Band {
  readonly start: number;
  readonly end: number;
  readonly perToken: number;
}

/** What a token costs: `rest` milliseconds, and `perPosition` for each position that attention reads. */
export interface Cost {
  readonly rest: number;
  readonly perPosition: number;
  /** How far a band is from that at most, as a share of `rest`. */
  readonly deviation: number;
}

/**
 * Time per token of one request from its first position to the context limit, in bands. Attention takes time in proportion to the
 * position; what is left of a band without it shall be the same everywhere.
 */
export async function benchPositions(engine: AsyncLLM): Promise<BenchRow[]> {
  const { maxModelLen } = engine.limits;
  // The first run warms up.
  await decode(engine, maxModelLen);
  const runs: Band[][] = [];
  const begun = performance.now();
  do runs.push(bandsOf(await decode(engine, maxModelLen), BANDS));
  while (runs.length < RUNS && performance.now() - begun < ENOUGH);
  // Of whole bands the run in the middle: tokens come by the submission, and two submissions now and then at once, so that the best
  // of short parts are those in which the tokens before came late.
  const bands = runs[0]!.map((band, i) => {
    const times = runs.map(run => run[i]!.perToken).sort((one, other) => one - other);
    return { ...band, perToken: percentile(times, 0.5) };
  });
  const { rest, perPosition, deviation } = fitCost(bands);
  const percent = Math.round(1000 * deviation) / 10;
  return [
    ...bands.map(({ end, perToken }) => row(`positions.to${end}`, perToken)),
    row('positions.rest', rest),
    row('positions.attention.per1000', 1000 * perPosition),
    { name: 'positions.deviation', value: percent, unit: '%', limit: 100 * GOAL, share: deviation / GOAL },
  ];
}

/** When the request had how many tokens: pairs of both, in order. */
type Progress = readonly (readonly [tokens: number, milliseconds: number])[];

async function decode(engine: AsyncLLM, maxModelLen: number): Promise<Progress> {
  const params = { temperature: 0, maxTokens: maxModelLen - 1, ignoreEos: true, detokenize: false };
  const progress: [number, number][] = [];
  let tokens = 1;
  for await (const output of engine.generate({ promptTokenIds: [1] }, params, { outputKind: 'delta' })) {
    if (output.error !== null) throw output.error;
    tokens += output.outputs[0]?.tokenIds.length ?? 0;
    progress.push([tokens, performance.now()]);
  }
  return progress;
}

/** Bands of as many tokens each, of what came after the first token. Times between two outputs are interpolated. */
export function bandsOf(progress: Progress, count: number): Band[] {
  const [first, last] = [progress[0]![0], progress.at(-1)![0]];
  const edges = Array.from({ length: count + 1 }, (_, i) => Math.round(first + ((last - first) * i) / count));
  const times = edges.map(tokens => timeOf(tokens, progress));
  return edges.slice(1).map((end, i) => {
    const start = edges[i]!;
    return { start, end, perToken: (times[i + 1]! - times[i]!) / (end - start) };
  });
}

function timeOf(tokens: number, progress: Progress): number {
  const at = progress.findIndex(([reached]) => reached >= tokens);
  const [after, end] = progress[at]!;
  const [before, start] = progress[at - 1] ?? [after, end];
  return after === before ? end : start + ((end - start) * (tokens - before)) / (after - before);
}

/** The line that is nearest to the bands by least squares. A slope below 0 is no attention, and counts as deviation. */
export function fitCost(bands: readonly Band[]): Cost {
  const middles = bands.map(({ start, end }) => (start + end) / 2);
  const times = bands.map(({ perToken }) => perToken);
  const [middle, mean] = [meanOf(middles), meanOf(times)];
  const covariance = middles.reduce((sum, at, i) => sum + (at - middle) * (times[i]! - mean), 0);
  const slope = covariance / middles.reduce((sum, at) => sum + (at - middle) ** 2, 0);
  const perPosition = Math.max(slope, 0);
  const rest = mean - perPosition * middle;
  const deviation = Math.max(...times.map((time, i) => Math.abs(time - perPosition * middles[i]! - rest))) / rest;
  return { rest, perPosition, deviation };
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function row(name: string, milliseconds: number): BenchRow {
  return { name, value: Number(milliseconds.toPrecision(4)), unit: 'ms', limit: null, share: null };
}
