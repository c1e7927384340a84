/** The bundled checkpoints against golden outputs of independent float64 models, by the rule that golden.json gives. */
import type { Device } from '@quire/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { createModelRunner, openDebugRunner } from '../../packages/core/src/worker/index.ts';
import { casesOn, endToEndDevices, openTestDevice } from '../support/devices.ts';
import { type GreedyOutput, greedyConfig, runGreedy } from './greedy-loop.ts';
import { certainTokens, goldenCases, openModel, relativeL2 } from './models.ts';

/** With a 16-bit cache a token is only certain while the best two logits are further apart than this. */
const NARROW_GAP = 0.05;

describe.each(endToEndDevices())('golden outputs on %s', name => {
  let device: Device;
  beforeAll(async () => {
    device = await openTestDevice(name);
  });

  describe.each(['models/tiny-llama', 'models/tiny-opt'])('%s', folder => {
    const cases = goldenCases(folder);

    it('gives every token and log-probability with an f32 cache', async () => {
      const outputs = await generate(folder, 'f32');
      cases.forEach((golden, index) => {
        const output = outputs[index]!;
        expect(output.tokenIds, golden.name).toEqual(golden.tokenIds);
        expectClose(output.tokenLogprobs, golden.tokenLogprobs, 1e-4, golden.name);
        expectClose(output.promptLogprobs, golden.promptLogprobs, 1e-4, golden.name);
      });
    });

    const shortCaches = casesOn<'f16'>(name, ['f16'], folder === 'models/tiny-opt' ? ['f16'] : []);
    it.each(shortCaches)('gives every token before a narrow gap with an %s cache', async dtype => {
      const outputs = await generate(folder, dtype);
      cases.forEach((golden, index) => {
        const output = outputs[index]!;
        const certain = certainTokens(golden, NARROW_GAP);
        expect(output.tokenIds.slice(0, certain), golden.name).toEqual(golden.tokenIds.slice(0, certain));
        const logprobs = output.tokenLogprobs.slice(0, certain);
        expectClose(logprobs, golden.tokenLogprobs.slice(0, certain), 2e-2, golden.name);
        expectClose(output.promptLogprobs, golden.promptLogprobs, 2e-2, golden.name);
      });
    });

    it('gives the logits at the last prompt token', async () => {
      const { source, ...model } = await openModel(folder);
      const runner = await openDebugRunner({ device, ...model, maxTokens: 64 });
      await source.close();
      const withLogits = cases.filter(golden => golden.logitsAtLastPromptToken !== undefined);
      expect(withLogits.length).toBeGreaterThan(3);
      for (const golden of withLogits) {
        const logits = await runner.forwardLogits(golden.promptTokenIds);
        const last = logits.subarray(-model.modelConfig.vocabSize);
        expect(last.length).toBe(golden.logitsAtLastPromptToken!.length);
        expect(relativeL2(last, golden.logitsAtLastPromptToken!), golden.name).toBeLessThan(1e-5);
      }
      runner.dispose();
    });
  });

  async function generate(folder: string, kvCacheDtype: 'f32' | 'f16'): Promise<GreedyOutput[]> {
    const { source, ...model } = await openModel(folder);
    const runner = await createModelRunner({ device, ...model, engineConfig: { ...greedyConfig, kvCacheDtype } });
    await source.close();
    const { outputs, steps } = await runGreedy(runner, goldenCases(folder), model.eosTokenIds);
    expectOpCounts(runner.executables, steps);
    await runner.dispose();
    return outputs;
  }
});

/** All ops of model and sampler ran on this device in every step, and none besides them except row deltas. */
function expectOpCounts(
  executables: Awaited<ReturnType<typeof createModelRunner>>['executables'],
  steps: number,
): void {
  expect(steps).toBeGreaterThan(50);
  for (const [name, executable] of executables) {
    const counts = Object.fromEntries(Object.entries(executable.opCounts()).filter(([, count]) => count > 0));
    const runs = name === 'model' || name === 'sampling.greedy+logprobs0' ? steps : 0;
    const expected: Record<string, number> = {};
    for (const { op } of executable.program.ops) if (runs > 0) expected[op] = (expected[op] ?? 0) + runs;
    if (name === 'applyRowDelta') expect(Object.keys(counts)).toEqual([name]);
    else expect(counts, name).toEqual(expected);
  }
}

function expectClose(
  found: readonly (number | null)[],
  expected: readonly (number | null)[],
  tolerance: number,
  name: string,
): void {
  expect(found.length, name).toBe(expected.length);
  found.forEach((value, index) => {
    if (expected[index] === null) expect(value, `${name}[${index}]`).toBeNull();
    else expect(Math.abs(value! - expected[index]!), `${name}[${index}]`).toBeLessThan(tolerance);
  });
}
