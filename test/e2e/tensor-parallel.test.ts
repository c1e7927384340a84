/** Groups of reference devices on threads: the golden outputs of one device, from shards of the weights. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../packages/core/src/models/config.ts';
import { loadWeights } from '../../packages/core/src/models/index.ts';
import { createModelRunner, openDebugRunner } from '../../packages/core/src/worker/index.ts';
import { openReferenceGroup } from '../../packages/server/src/node/reference-group.ts';
import { build } from '../server/build.ts';
import { openTestReference } from '../support/devices.ts';
import { greedyConfig, runGreedy } from './greedy-loop.ts';
import { goldenCases, openModel, relativeL2 } from './models.ts';
import { logitsError, variants } from './variant-logits.ts';

const models = ['models/tiny-llama', 'models/tiny-opt'];
const sizes = [2, 4];

beforeAll(build);

describe.each(sizes)('%i ranks', size => {
  it.each(models)('give the golden tokens and log-probabilities of %s', async folder => {
    const { source, ...model } = await openModel(folder);
    const group = await openReferenceGroup(size);
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
    // The ranks did meet: twice in each layer, for the embedding, and for the logits.
    const counts = runner.executables.get('model')!.opCounts();
    expect(counts.allReduce).toBe(steps * (2 * model.modelConfig.numLayers + 1));
    expect(counts.allGather).toBe(steps);
    await runner.dispose();
    await group.synchronize();
    expect(group.allocatedBytes()).toBe(0);
    await group.dispose();
  });

  it.each(models)('hold their part of the weights of %s and no more', async folder => {
    const { source, modelConfig, checkpoint } = await openModel(folder);
    const group = await openReferenceGroup(size);
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

describe('a group', () => {
  it.each(variants)('of two ranks gives the logits of the oracle: %s', async variant => {
    const group = await openReferenceGroup(2);
    const error = await logitsError(group, variant, { maxNumBatchedTokens: 17 });
    await group.dispose();
    expect(error).toBeLessThan(1e-5);
  });

  it('computes in chunks, at other block sizes, and reads its logits like one device', async () => {
    const { source, ...model } = await openModel('models/tiny-llama');
    const golden = goldenCases('models/tiny-llama').find(({ logitsAtLastPromptToken }) => logitsAtLastPromptToken)!;
    const group = await openReferenceGroup(2);
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
