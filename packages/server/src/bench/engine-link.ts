import { type EngineOptions, parseEngineConfig } from '@quire/core';
import { silentLog } from '../app/context.ts';
import { EngineProcess } from '../engine-process/engine-process.ts';
import { openTokenizer } from '../tokenizer/open-tokenizer.ts';
import type { BenchRow } from './report.ts';

export interface LinkBenchOptions {
  /** For its tokenizer; nothing is computed. */
  model: string;
  /** Streams at once. Default 256. */
  streams?: number;
  /** Of each stream. Default 400. */
  tokens?: number;
}

/** Node runs compiled files only, also when this one is run from its source. */
const mockHost = new URL(
  import.meta.url.endsWith('.ts') ? '../../dist/bench/serve/mock-host-main.js' : './serve/mock-host-main.js',
  import.meta.url,
);

/**
 * The way of tokens from an engine process that computes nothing to streams of text, without HTTP: a frame per step, each with a
 * token of every stream.
 */
export async function benchLink({ model, streams = 256, tokens = 400 }: LinkBenchOptions): Promise<BenchRow[]> {
  const options: EngineOptions = { model, maxNumSeqs: streams, numSchedulerSteps: 1, maxModelLen: 512 };
  const sized = { ...options, maxNumBatchedTokens: 2048, numGpuBlocksOverride: streams * 32 + 1 };
  const config = parseEngineConfig(sized);
  const tokenizer = openTokenizer(config);
  const engine = await EngineProcess.open({
    ...{ options: sized, config, tokenizer },
    device: 'mock',
    log: silentLog,
    entry: mockHost,
  });
  try {
    await run(engine, streams, 16);
    return await run(engine, streams, tokens);
  } finally {
    await engine.dispose();
  }
}

async function run(engine: EngineProcess, streams: number, tokens: number): Promise<BenchRow[]> {
  const before = engine.stats();
  const cpu = process.cpuUsage();
  const started = performance.now();
  const params = { maxTokens: tokens, ignoreEos: true, temperature: 0 };
  const read = async () => {
    for await (const _ of engine.generate([5, 6, 7, 8], params, { outputKind: 'delta' }));
  };
  await Promise.all(Array.from({ length: streams }, read));
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const after = engine.stats();
  const gained = after.generationTokens - before.generationTokens;
  return [
    row('engine.link.frames', (after.numSteps - before.numSteps) / seconds, 'frames/s'),
    row('engine.link.tokens', gained / seconds, 'tokens/s'),
    // Processor time of the front end, which other work on the machine does not stretch.
    row('engine.link.cpu', (user + system) / gained, 'us'),
  ];
}

function row(name: string, value: number, unit: string): BenchRow {
  return { name, value: Math.round(value * 10) / 10, unit, limit: null, share: null };
}
