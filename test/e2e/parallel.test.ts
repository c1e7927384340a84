/** Groups of reference devices on threads: the golden outputs of one device, from shards of the weights. */
import type { Device } from '@quire/core/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../packages/core/src/models/config.ts';
import { loadWeights } from '../../packages/core/src/models/index.ts';
import { createModelRunner, openDebugRunner } from '../../packages/core/src/worker/index.ts';
import { openReferenceGroup } from '../../packages/server/src/node/reference-group.ts';
import { build } from '../server/build.ts';
import { fullEndToEnd, openTestReference } from '../support/devices.ts';
import { tinyCheckpoint, tinyEngine, tinyModel } from '../support/tiny-engine.ts';
import { greedyConfig, runGreedy } from './greedy-loop.ts';
import { certainTokens, goldenCases, openModel, relativeL2 } from './models.ts';
import { logitsError, variants } from './variant-logits.ts';

const models = ['models/tiny-llama', 'models/tiny-opt'];
const sizes = [2, 4];

beforeAll(build);

/** Runs the golden cases on a group, and frees what they took of it. */
async function expectGolden(folder: string, group: Device) {
  const { source, ...model } = await openModel(folder);
  const runner = await createModelRunner({ device: group, ...model, engineConfig: greedyConfig });
  await source.close();
  const cases = goldenCases(folder);
  const { outputs, steps } = await runGreedy(runner, cases, model.eosTokenIds);
  cases.forEach((golden, index) => {
    const output = outputs[index]!;
    expect(output.tokenIds, golden.name).toEqual(golden.tokenIds);
    golden.tokenLogprobs.forEach((logprob, i) => {
      expect(Math.abs(output.tokenLogprobs[i]! - logprob), `${golden.name}[${i}]`).toBeLessThan(1e-4);
    });
  });
  const counts = runner.executables.get('model')!.opCounts();
  await runner.dispose();
  await group.synchronize();
  expect(group.allocatedBytes()).toBe(0);
  return { counts, layers: model.modelConfig.numLayers, steps };
}

it('a draft model is divided as the model is, and changes no token', async () => {
  const group = await openReferenceGroup({ tensorParallelSize: 2 });
  const draft = { modelConfig: tinyModel, checkpoint: tinyCheckpoint(), numSpeculativeTokens: 3 };
  const guess = { speculativeConfig: { model: 'smaller', numSpeculativeTokens: 3 }, draft };
  const run = async (options: Record<string, unknown>) => {
    const engine = await tinyEngine(group, options);
    const output = engine.add([5, 6, 7, 8], { temperature: 0, maxTokens: 13, ignoreEos: true });
    while (engine.hasUnfinished) await engine.step();
    const { draftTokens, acceptedTokens } = engine.stats();
    await engine.dispose();
    return { tokens: output.sequences[0]!.request.outputTokens(), draftTokens, acceptedTokens };
  };
  const [plain, guessed] = [await run({}), await run(guess)];
  expect(guessed.tokens).toEqual(plain.tokens);
  expect(guessed.draftTokens).toBe(9);
  expect(guessed.acceptedTokens).toBe(9);
  await group.synchronize();
  expect(group.allocatedBytes()).toBe(0);
  await group.dispose();
});

describe.each(sizes)('%i ranks', size => {
  it.each(models)('give the golden tokens and log-probabilities of %s', async folder => {
    const group = await openReferenceGroup({ tensorParallelSize: size });
    const { counts, layers, steps } = await expectGolden(folder, group);
    // The ranks did meet: twice in each layer, for the embedding, and for the logits.
    expect(counts.allReduce).toBe(steps * (2 * layers + 1));
    expect(counts.allGather).toBe(steps);
    await group.dispose();
  });

  // In the gate of one model on two ranks: how heads are divided does not depend on the dtype.
  it.each(fullEndToEnd ? models : size === 2 ? ['models/tiny-llama'] : [])(
    'give the certain golden tokens of %s with 16-bit activations and cache',
    async folder => {
      const group = await openReferenceGroup({ tensorParallelSize: size });
      const { source, ...model } = await openModel(folder);
      const engineConfig = { ...greedyConfig, dtype: 'f16' } as const;
      const runner = await createModelRunner({ device: group, ...model, engineConfig });
      await source.close();
      expect(runner.dtypes).toMatchObject({ activations: 'f16', kvCache: 'f16' });
      const cases = goldenCases(folder);
      const { outputs } = await runGreedy(runner, cases, model.eosTokenIds);
      cases.forEach((golden, index) => {
        const certain = certainTokens(golden, 0.05);
        expect(outputs[index]!.tokenIds.slice(0, certain), golden.name).toEqual(golden.tokenIds.slice(0, certain));
      });
      await runner.dispose();
      await group.dispose();
    },
  );

  it.each(models)('hold their part of the weights of %s and no more', async folder => {
    const { source, modelConfig, checkpoint } = await openModel(folder);
    const group = await openReferenceGroup({ tensorParallelSize: size });
    const loaded = await loadWeights(group, modelConfig, { checkpoint });
    await source.close();
    const total = weightBytes(modelConfig, 1, modelConfig.numHeads, modelConfig.numKvHeads);
    const [heads, kvHeads] = headsPerRank[folder]![size]!;
    const expected = weightBytes(modelConfig, size, heads, kvHeads);
    console.log(
      `${folder}, ${size} ranks: each holds ${loaded.bytes} of ${total.sharded + total.replicated} bytes of weights`,
    );
    expect(loaded.bytes).toBe(expected.sharded + expected.replicated);
    expect(group.allocatedBytes()).toBe(size * loaded.bytes);
    expect(expected.replicated).toBe(total.replicated);
    // Where the heads divide evenly, the sharded tensors are exactly 1/N.
    if (heads * size === modelConfig.numHeads) expect(expected.sharded).toBe(total.sharded / size);
    loaded.dispose();
    await group.dispose();
  });
});

/** Query heads and KV heads that each rank holds: six heads over four ranks are two each, and two KV heads have two ranks each. */
const headsPerRank: Readonly<Record<string, Readonly<Record<number, readonly [number, number]>>>> = {
  'models/tiny-llama': { 2: [3, 1], 4: [2, 1] },
  'models/tiny-opt': { 2: [3, 3], 4: [2, 2] },
};

/** Bytes of the f16 weights of one rank of `size`, by hand: the tied table, then five or four layers. */
function weightBytes(config: ModelConfig, size: number, heads: number, kvHeads: number) {
  const { hiddenSize: h, headDim, numLayers, opt } = config;
  const [intermediate, vocabulary] = [config.intermediateSize / size, config.vocabSize / size];
  const isOpt = opt !== null;
  const qkvRows = (heads + 2 * kvHeads) * headDim;
  const upRows = isOpt ? intermediate : 2 * intermediate;
  const matrices = qkvRows * h + h * heads * headDim + upRows * h + h * intermediate;
  const shardedBiases = isOpt ? qkvRows + upRows : 0;
  // Norms, and biases of the two layers whose columns are divided.
  const replicated = isOpt ? 2 * 2 * h + 2 * h : 2 * h;
  const positions = isOpt ? (config.maxPositionEmbeddings + 2) * h : 0;
  return {
    sharded: 2 * (vocabulary * h + numLayers * (matrices + shardedBiases)),
    replicated: 2 * (numLayers * replicated + positions + (isOpt ? 2 * h : h)),
  };
}

describe.each([
  [2, 1],
  [3, 1],
  [2, 2],
])('a pipeline of %i stages with %i ranks each', (stages, ranks) => {
  const openGroup = () => openReferenceGroup({ pipelineParallelSize: stages, tensorParallelSize: ranks });

  // In the gate the second model where both ways to divide meet.
  const divided = fullEndToEnd || stages * ranks === 4 ? models : ['models/tiny-llama'];

  it.each(divided)('gives the golden tokens and log-probabilities of %s', async folder => {
    const group = await openGroup();
    const { counts, layers, steps } = await expectGolden(folder, group);
    // The last stage alone has the head; each layer is on one stage.
    const own = Math.ceil(layers / stages) - (layers % stages === 0 ? 0 : 1);
    expect(counts.pagedAttention).toBe(steps * own);
    expect([counts.gatherRows, counts.recv, counts.send]).toEqual([steps, steps, undefined]);
    await group.dispose();
  });

  it('holds the weights of its own layers on each stage', async () => {
    const { source, modelConfig, checkpoint } = await openModel('models/tiny-llama');
    const group = await openGroup();
    const loaded = await loadWeights(group, modelConfig, { checkpoint });
    await source.close();
    const bytes = Array.from({ length: stages }, () => 0);
    for (const { spec, bytes: size } of Object.values(loaded.tensors)) bytes[spec.stage!]! += size;
    const [heads, kvHeads] = ranks === 1 ? [6, 2] : headsPerRank['models/tiny-llama']![ranks]!;
    const { sharded, replicated } = weightBytes(modelConfig, ranks, heads, kvHeads);
    const table = (2 * modelConfig.vocabSize * modelConfig.hiddenSize) / ranks;
    console.log(
      `models/tiny-llama, ${stages} stages of ${ranks}: ${bytes.join(', ')} bytes of weights on a rank of each`,
    );
    // The tied table is on the first stage and on the last.
    expect(bytes.reduce((sum, own) => sum + own)).toBe(sharded + replicated + table);
    const layer = (sharded + replicated - table - 2 * modelConfig.hiddenSize) / modelConfig.numLayers;
    const most = Math.ceil(modelConfig.numLayers / stages) * layer + table + 2 * modelConfig.hiddenSize;
    for (const own of bytes) expect(own).toBeLessThanOrEqual(most);
    expect(group.allocatedBytes()).toBe(ranks * loaded.bytes);
    loaded.dispose();
    await group.dispose();
  });
});

describe('a group', () => {
  /** Norms over all heads of a token cannot be divided. */
  const divisible = variants.filter(variant => variant !== 'olmo2');

  it('of more than one rank is refused where a norm spans all heads', async () => {
    const group = await openReferenceGroup({ tensorParallelSize: 2 });
    await expect(logitsError(group, 'olmo2', { maxNumBatchedTokens: 17 })).rejects.toThrow(
      'norms all heads of a token together',
    );
    await group.dispose();
  });

  describe('of two ranks in each of two stages', () => {
    let group: Device;
    beforeAll(async () => {
      group = await openReferenceGroup({ tensorParallelSize: 2, pipelineParallelSize: 2 });
    });
    afterAll(() => group.dispose());

    it.each(divisible)('gives the logits of the oracle: %s', async variant => {
      expect(await logitsError(group, variant, { maxNumBatchedTokens: 17 })).toBeLessThan(1e-5);
    });
  });

  it('gives the same bits alone and in a batch', async () => {
    const { source, ...model } = await openModel('models/tiny-llama');
    const group = await openReferenceGroup({ tensorParallelSize: 2 });
    expect(group.info.capabilities.batchInvariant).toBe(true);
    const cases = goldenCases('models/tiny-llama').slice(0, 4);
    const run = async (requests: typeof cases) => {
      const runner = await createModelRunner({ device: group, ...model, engineConfig: greedyConfig });
      const { outputs } = await runGreedy(runner, requests, model.eosTokenIds);
      await runner.dispose();
      return outputs;
    };
    const together = await run(cases);
    for (const [index, golden] of cases.entries()) expect(await run([golden]), golden.name).toEqual([together[index]]);
    await source.close();
    await group.dispose();
  });

  it('computes in chunks, at other block sizes, and reads its logits like one device', async () => {
    const { source, ...model } = await openModel('models/tiny-llama');
    const golden = goldenCases('models/tiny-llama').find(({ logitsAtLastPromptToken }) => logitsAtLastPromptToken)!;
    const group = await openReferenceGroup({ tensorParallelSize: 2 });
    const options = { ...model, maxTokens: 64, maxNumBatchedTokens: 5, blockSize: 8 };
    const runner = await openDebugRunner({ device: group, ...options });
    const alone = await openDebugRunner({ device: await openTestReference(), ...options });
    await source.close();
    const logits = await runner.forwardLogits(golden.promptTokenIds);
    const expected = await alone.forwardLogits(golden.promptTokenIds);
    expect(relativeL2(logits, expected)).toBeLessThan(1e-5);
    expect(relativeL2(logits, expected)).toBeGreaterThan(0);
    expect(relativeL2(logits.subarray(-model.modelConfig.vocabSize), golden.logitsAtLastPromptToken!)).toBeLessThan(
      1e-5,
    );
    alone.dispose();
    runner.dispose();
    await group.dispose();
  });
});
