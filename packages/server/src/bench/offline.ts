import type { AsyncLLM, RequestMetrics } from '@quire/core';
import type { BenchRow } from './report.ts';

const DECODE_PROMPT = 16;
const DECODE_TOKENS = 128;
const BATCHES = [1, 16];
const PREFILL_RUNS = 4;

interface Run {
  metrics: RequestMetrics;
  tokens: number;
}

/**
 * Tokens per second of a loaded engine: decoding alone and 16 at once, and prefill of one long prompt. Prompts are random ids,
 * all different, so that the prefix cache does not help.
 */
export async function benchOffline(engine: AsyncLLM): Promise<BenchRow[]> {
  const random = randomIds(engine.limits.vocabSize);
  const { maxModelLen } = engine.limits;
  const decodeTokens = Math.min(DECODE_TOKENS, maxModelLen - DECODE_PROMPT);
  await decode(engine, Math.max(...BATCHES), decodeTokens, random);
  const rows: BenchRow[] = [];
  for (const batch of BATCHES) {
    const rate = await decode(engine, batch, decodeTokens, random);
    rows.push(row(`offline.decode.batch${batch}`, rate));
  }
  rows.push(row('offline.prefill', await prefill(engine, Math.min(256, maxModelLen - 1), random)));
  return rows;
}

/** Tokens after the first of each sequence, over the time from the first token of any to the last of all. */
async function decode(
  engine: AsyncLLM,
  batch: number,
  tokens: number,
  random: (n: number) => number[],
): Promise<number> {
  const runs = await Promise.all(Array.from({ length: batch }, () => run(engine, random(DECODE_PROMPT), tokens)));
  const start = Math.min(...runs.map(r => r.metrics.firstToken ?? Infinity));
  const end = Math.max(...runs.map(r => r.metrics.finished ?? 0));
  const decoded = runs.reduce((sum, r) => sum + r.tokens - 1, 0);
  return (decoded * 1000) / (end - start);
}

/** Prompt tokens until the first token, of one prompt at a time; the best of a few runs. */
async function prefill(engine: AsyncLLM, promptTokens: number, random: (n: number) => number[]): Promise<number> {
  let best = 0;
  for (let i = 0; i < PREFILL_RUNS; i++) {
    const { metrics } = await run(engine, random(promptTokens), 1);
    best = Math.max(best, (promptTokens * 1000) / ((metrics.firstToken ?? Infinity) - metrics.arrival));
  }
  return best;
}

async function run(engine: AsyncLLM, promptTokenIds: number[], maxTokens: number): Promise<Run> {
  const params = { temperature: 0, maxTokens, ignoreEos: true, detokenize: false };
  for await (const output of engine.generate({ promptTokenIds }, params, { outputKind: 'final' })) {
    if (output.error !== null) throw output.error;
    if (output.finished) return { metrics: output.metrics, tokens: output.outputs[0]?.tokenIds.length ?? 0 };
  }
  throw new Error('The engine ended a request without an output.');
}

function row(name: string, tokensPerSecond: number): BenchRow {
  return { name, value: Math.round(tokensPerSecond * 10) / 10, unit: 'tokens/s', limit: null, share: null };
}

/** A seeded generator (mulberry32) of token ids. */
function randomIds(vocabSize: number): (count: number) => number[] {
  let state = 1;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return (x ^ (x >>> 14)) >>> 0;
  };
  return count => Array.from({ length: count }, () => next() % vocabSize);
}
