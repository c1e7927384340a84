import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import {
  AsyncLLM,
  BlockManager,
  BlockTable,
  createModelRunner,
  type EngineConfig,
  LLMEngine,
  type ModelConfig,
  parseEngineConfig,
} from '@quire/core';
import { openMockDevice } from './mock-device.ts';
import type { BenchRow } from './report.ts';

export interface EngineBenchOptions {
  /** Requests that run at once. Default 32, 256 and 1,024. */
  batches?: readonly number[];
  /** Steps that are timed of each. Default 2,000. */
  steps?: number;
  /** Steps over which the heap must not grow. Default 1,000,000. */
  heapSteps?: number;
}

const LONG_PROMPT = 32_768;
const MAX_MODEL_LEN = 8192;

/** Small, since nothing is computed; the vocabulary is of a usual size. */
const model: ModelConfig = {
  architecture: 'LlamaForCausalLM',
  hiddenSize: 64,
  intermediateSize: 64,
  numLayers: 1,
  numHeads: 1,
  numKvHeads: 1,
  headDim: 64,
  vocabSize: 32_000,
  maxPositionEmbeddings: MAX_MODEL_LEN,
  normEps: 1e-5,
  activation: 'silu',
  attentionBias: false,
  attentionOutBias: false,
  qkNorm: 'none',
  layers: null,
  localRope: null,
  attentionScale: null,
  attentionSoftCap: 0,
  logitSoftCap: 0,
  embeddingScale: 1,
  normsAddOne: false,
  parallelResidual: false,
  mlpBias: false,
  tieWordEmbeddings: true,
  rope: { theta: 10_000, rotaryDim: 64, scaling: { type: 'none' } },
  experts: null,
  opt: null,
  pooling: null,
  quantization: null,
  bosTokenId: null,
  eosTokenIds: [],
  padTokenId: null,
  dtype: 'f32',
};

/**
 * The engine's own time, over a device that computes nothing: per step of steady decode (schedule, prepare, update; no text),
 * tokens per second through AsyncLLM, the price of hashing a long prompt and of finding it, the heap over many steps, and the
 * share of KV slots that a mixed workload holds and does not use.
 */
export async function benchEngine(options: EngineBenchOptions = {}): Promise<BenchRow[]> {
  const { batches = [32, 256, 1024], steps = 2000, heapSteps = 1_000_000 } = options;
  const rows: BenchRow[] = [];
  for (const batch of batches) rows.push(...(await decodeSteps(batch, steps)));
  rows.push(await throughAsyncLLM(256, Math.min(512, steps)));
  rows.push(...prefixCosts());
  rows.push(await heapGrowth(heapSteps));
  rows.push(await kvWaste(Math.min(400, steps)));
  return rows;
}

async function openEngine(
  options: Record<string, unknown>,
): Promise<{ executor: Awaited<ReturnType<typeof createModelRunner>>; config: EngineConfig }> {
  const device = await openMockDevice();
  const config = parseEngineConfig({ maxModelLen: MAX_MODEL_LEN, maxNumBatchedTokens: 16_384, ...options });
  const executor = await createModelRunner({ device, modelConfig: model, engineConfig: config, checkpoint: null });
  return { executor, config };
}

const greedy = { temperature: 0, ignoreEos: true, detokenize: false };
const tokenIdsOnly = { tokenizer: null, eosTokenIds: [] };

/** Prompts of different lengths, so that blocks are not handed out to all in the same step. */
async function running(engine: LLMEngine, batch: number, maxTokens: number): Promise<void> {
  for (let i = 0; i < batch; i++) engine.add(prompt(16 + (i % 16), i), { ...greedy, maxTokens });
  while (engine.scheduler.waiting.length > 0 || engine.scheduler.running.length < batch) await engine.step();
}

async function decodeSteps(batch: number, steps: number): Promise<BenchRow[]> {
  const warmUp = Math.min(500, steps);
  const numGpuBlocksOverride = blocksOf(batch, 64 + warmUp + steps);
  const { executor, config } = await openEngine({ maxNumSeqs: batch, numSchedulerSteps: 1, numGpuBlocksOverride });
  const engine = new LLMEngine({ executor, config, ...tokenIdsOnly });
  await running(engine, batch, 32 + warmUp + steps);
  for (let i = 0; i < warmUp; i++) await engine.step();
  const times = new Float64Array(steps);
  for (let i = 0; i < steps; i++) {
    const start = performance.now();
    await engine.step();
    times[i] = 1000 * (performance.now() - start);
  }
  await engine.dispose();
  times.sort();
  return [
    row(`engine.step.${batch}`, times[steps >> 1]!, 'us'),
    row(`engine.step.${batch}.p99`, times[Math.floor(steps * 0.99)]!, 'us'),
  ];
}

/** With the settings of a server: submits in flight, and four steps to a submit. */
async function throughAsyncLLM(batch: number, tokens: number): Promise<BenchRow> {
  const numGpuBlocksOverride = blocksOf(batch, 64 + tokens);
  const { executor, config } = await openEngine({ maxNumSeqs: batch, numGpuBlocksOverride });
  const asyncLLM = new AsyncLLM({ executor, config, ...tokenIdsOnly });
  const run = async (i: number) => {
    let total = 0;
    const stream = asyncLLM.generate(
      prompt(16 + (i % 16), i),
      { ...greedy, maxTokens: tokens },
      { outputKind: 'delta' },
    );
    for await (const { outputs } of stream) for (const { tokenIds } of outputs) total += tokenIds.length;
    return total;
  };
  const start = performance.now();
  const totals = await Promise.all(Array.from({ length: batch }, (_, i) => run(i)));
  const seconds = (performance.now() - start) / 1000;
  await asyncLLM.dispose();
  return row(`engine.asyncLLM.${batch}`, totals.reduce((sum, total) => sum + total, 0) / seconds, 'tokens/s');
}

/** The best of a few runs: what registers the blocks of a prompt, and what finds them again. */
function prefixCosts(): BenchRow[] {
  const blockSize = 16;
  const tokens = Uint32Array.from(prompt(LONG_PROMPT, 1));
  let [add, find] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let run = 0; run < 20; run++) {
    const blocks = new BlockManager({ numBlocks: LONG_PROMPT / blockSize + 2, blockSize, enablePrefixCaching: true });
    const table = new BlockTable();
    blocks.admit(table, blocks.lookup(tokens, LONG_PROMPT, ''), LONG_PROMPT, LONG_PROMPT);
    const start = performance.now();
    blocks.register(table, tokens, LONG_PROMPT);
    const registered = performance.now();
    blocks.lookup(tokens, LONG_PROMPT, '');
    find = Math.min(find, performance.now() - registered);
    add = Math.min(add, registered - start);
  }
  return [
    row(`engine.prefix.hash.${LONG_PROMPT}`, 1000 * add, 'us'),
    row(`engine.prefix.lookup.${LONG_PROMPT}`, 1000 * find, 'us'),
  ];
}

/** Requests come and go; the heap after the last half of the steps against that after the first, both collected. */
async function heapGrowth(steps: number): Promise<BenchRow> {
  const { executor, config } = await openEngine({ maxNumSeqs: 8, numSchedulerSteps: 1, numGpuBlocksOverride: 1000 });
  const engine = new LLMEngine({ executor, config, ...tokenIdsOnly });
  let added = 0;
  const run = async (count: number) => {
    for (let i = 0; i < count; i++) {
      while (engine.scheduler.running.length + engine.scheduler.waiting.length < 8) {
        engine.add(prompt(20, added), { ...greedy, maxTokens: 100 + (added++ % 50) });
      }
      await engine.step();
    }
    return collectedHeap();
  };
  const first = await run(steps >> 1);
  const last = await run(steps >> 1);
  await engine.dispose();
  return row(`engine.heap.growth.${steps}`, last - first, 'bytes');
}

/** The workload of nano-vllm's benchmark: prompts and outputs of 100 to 1,024 tokens. */
async function kvWaste(steps: number): Promise<BenchRow> {
  const { executor, config } = await openEngine({
    maxNumSeqs: 256,
    numGpuBlocksOverride: 20_000,
    numSchedulerSteps: 1,
  });
  const engine = new LLMEngine({ executor, config, ...tokenIdsOnly });
  for (let i = 0; i < 256; i++) {
    engine.add(prompt(100 + ((i * 397) % 925), i), { ...greedy, maxTokens: 100 + ((i * 613) % 925) });
  }
  let [held, used] = [0, 0];
  for (let i = 0; i < steps && engine.hasUnfinished; i++) {
    await engine.step();
    for (const { table, numComputed } of engine.scheduler.running) {
      held += table.length * engine.limits.blockSize;
      used += numComputed;
    }
  }
  await engine.dispose();
  return row('engine.kv.waste', 100 * (1 - used / held), '%');
}

/** Blocks for so many requests of so many tokens, and for one of the longest. */
function blocksOf(batch: number, tokens: number): number {
  return Math.max(MAX_MODEL_LEN, batch * (tokens + 16)) / 16;
}

function collectedHeap(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}

/** Distinct in their first token already, so that nobody shares a prefix. */
function prompt(length: number, first: number): number[] {
  return Array.from({ length }, (_, i) => (first + i * 7919) % model.vocabSize);
}

function row(name: string, value: number, unit: string): BenchRow {
  return { name, value: Math.round(value * 100) / 100, unit, limit: null, share: null };
}
