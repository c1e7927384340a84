/**
 * Decode steps of few rows as persistent launches: the bits of one launch for each operation, with cooperative launches and on a chip
 * that has none. That these are right, the golden tests and the conformance list say.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EmulatedChip, loadEmulator } from '@quire/backend-cuda';
import { expect, it } from 'vitest';
import { parseModelConfig } from '../../packages/core/src/models/parse-config.ts';
import { createModelRunner } from '../../packages/core/src/worker/index.ts';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { LLM } from '../../packages/server/src/node/llm.ts';
import { type GreedyOutput, greedyConfig, runGreedy } from '../e2e/greedy-loop.ts';
import { goldenCases, openModel } from '../e2e/models.ts';
import { openTestCudaEmu } from '../support/devices.ts';

const chips: readonly Partial<EmulatedChip>[] = [
  { smCount: 5, order: 'shuffled', seed: 3 },
  { smCount: 1, blocksPerSm: 1, order: 'reverse' },
  { smCount: 40, order: 'shuffled', seed: 9 },
];
const persistentLaunches = () => loadEmulator().counters().persistentStep?.launches ?? 0;
/** Of the form on tensor cores, which a persistent launch takes in. */
const attentionLaunches = () => loadEmulator().counters().attentionDecodeTensor?.launches ?? 0;

/** The golden prompts of a checkpoint, or one made up. */
function promptsOf(folder: string, count: number) {
  const prompts = folder.startsWith('models/') ? goldenCases(folder).map(({ promptTokenIds }) => promptTokenIds) : [];
  const madeUp = (i: number) => Array.from({ length: 5 + 7 * i }, (_, at) => 3 + ((at * 31 + i * 17) % 60));
  return Array.from({ length: count }, (_, i) => (prompts[i] ?? madeUp(i)).slice(0, 40));
}

/** Layers of the shape of those of opt-125m, two of them, with seeded stand-ins for weights. */
const OPT_125M = 'opt-125m';

async function openLayersOfOpt125m() {
  const folder = mkdtempSync(join(tmpdir(), 'quire-opt-'));
  const tiny = JSON.parse(readFileSync(join(import.meta.dirname, '../../models/tiny-opt/config.json'), 'utf8'));
  const shape = { hidden_size: 768, word_embed_proj_dim: 768, ffn_dim: 3072, num_attention_heads: 12 };
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...tiny, ...shape, num_hidden_layers: 2 }));
  const source = await openFolderSource(folder);
  const modelConfig = await parseModelConfig(source);
  rmSync(folder, { recursive: true });
  return { source, modelConfig, checkpoint: null };
}

/** Steps in which all requests decode, behind those that start one each. */
const DECODE_STEPS = 4;

/** Requests that start one step after another and end together. */
async function decode(chip: Partial<EmulatedChip>, folder: string, dtype: 'f16' | 'bf16', rows: number) {
  const device = await openTestCudaEmu({ chip });
  const { source, modelConfig, checkpoint } = await (folder === OPT_125M ? openLayersOfOpt125m() : openModel(folder));
  const engineConfig = { ...greedyConfig, dtype, maxModelLen: 64, maxNumSeqs: rows, numGpuBlocksOverride: 60 };
  const executor = await createModelRunner({ device, modelConfig, engineConfig, checkpoint });
  await source.close();
  const before = { persistent: persistentLaunches(), attention: attentionLaunches() };
  const requests = promptsOf(folder, rows).map((promptTokenIds, i) => ({
    promptTokenIds,
    maxTokens: rows + DECODE_STEPS - i,
  }));
  const { outputs } = await runGreedy(executor, requests, []);
  await executor.dispose();
  const launches = {
    persistent: persistentLaunches() - before.persistent,
    attention: attentionLaunches() - before.attention,
  };
  return { outputs, launches };
}

function bitsOf(outputs: readonly GreedyOutput[]) {
  return outputs.map(({ tokenIds, tokenLogprobs }) => ({
    tokenIds,
    bits: [...new Uint32Array(Float32Array.from(tokenLogprobs).buffer)],
  }));
}

interface Case {
  readonly folder: string;
  readonly dtype: 'f16' | 'bf16';
  readonly rows: number;
  /** Whether the persistent launch takes it in. Default `within`. */
  readonly attention?: 'within' | 'apart';
}
const models: readonly Case[] = [
  { folder: 'models/tiny-llama', dtype: 'f16', rows: 4 },
  { folder: 'models/tiny-llama', dtype: 'bf16', rows: 1 },
  { folder: 'models/tiny-opt', dtype: 'bf16', rows: 4 },
  { folder: 'models/tiny-opt', dtype: 'f16', rows: 8 },
  { folder: OPT_125M, dtype: 'bf16', rows: 2 },
  // Biases of queries, keys and values; norms of heads; norms behind the parts of a layer. Attention of such narrow heads is launched
  // by itself, between two persistent launches.
  { folder: 'test/fixtures/models/qwen2-tied', dtype: 'bf16', rows: 3, attention: 'apart' },
  { folder: 'test/fixtures/models/qwen3-tied', dtype: 'bf16', rows: 3, attention: 'apart' },
  { folder: 'test/fixtures/models/gemma2', dtype: 'bf16', rows: 2, attention: 'apart' },
];

/** `npm run test:cuda-emu:groups`: each model on all chips. In the gate each chip is left out by every third model. */
const everything = process.env.QUIRE_GROUPS === 'all';

it.each(models)('$folder in $dtype, $rows rows: bit for bit', async model => {
  const { folder, dtype, rows, attention = 'within' } = model;
  const chosen = chips.filter((_, c) => everything || c !== models.indexOf(model) % chips.length);
  const launched = await decode({ smCount: 3, cooperative: false }, folder, dtype, rows);
  expect(launched.launches.persistent).toBe(0);
  for (const chip of chosen) {
    const persistent = await decode(chip, folder, dtype, rows);
    expect(persistent.launches.persistent).toBeGreaterThanOrEqual(DECODE_STEPS);
    if (attention === 'apart') expect(launched.launches.attention).toBe(0);
    else expect(persistent.launches.attention).toBeLessThan(launched.launches.attention);
    expect(bitsOf(persistent.outputs)).toEqual(bitsOf(launched.outputs));
  }
  // Not all alike.
  expect(new Set(launched.outputs.flatMap(({ tokenLogprobs }) => tokenLogprobs)).size).toBeGreaterThan(rows);
});

it('is not launched for steps of more rows', async () => {
  const { launches } = await decode({ smCount: 3 }, 'models/tiny-llama', 'f16', 9);
  expect(launches.persistent).toBe(0);
  expect(launches.attention).toBeGreaterThan(0);
});

it('goes on with the others when a request is cancelled', async () => {
  const tokensOf = async (cancels: boolean, chip: Partial<EmulatedChip>) => {
    const device = await openTestCudaEmu({ chip });
    const options = { dtype: 'bfloat16', maxModelLen: 64, maxNumSeqs: 4, numGpuBlocksOverride: 60 } as const;
    await using llm = new LLM({ model: 'models/tiny-llama', device, ...options });
    const sampling = { temperature: 0, maxTokens: 20, ignoreEos: true };
    const { asyncLLM } = await llm.load();
    const stream = asyncLLM.generate('Once upon a time', sampling, {});
    const kept = llm.generate(['7 + 8 =', 'The dog'], sampling);
    let length = 0;
    for await (const { outputs } of stream) {
      length = outputs[0]!.tokenIds.length;
      if (cancels) stream.abort();
    }
    expect(length < 20).toBe(cancels);
    return (await kept).map(({ outputs }) => outputs[0]!.tokenIds);
  };
  const before = persistentLaunches();
  const whole = await tokensOf(false, { smCount: 3, cooperative: false });
  expect(persistentLaunches()).toBe(before);
  expect(await tokensOf(true, { smCount: 3 })).toEqual(whole);
  expect(persistentLaunches()).toBeGreaterThan(before);
});
