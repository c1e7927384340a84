/**
 * The bundled checkpoints through the whole engine on the emulated device, with graph replay and run-ahead. In f32, so every token
 * must be that of golden.json; test/e2e has the other dtypes and the log-probabilities.
 */
import { LLM, type ModelRunner } from '@quire/core';
import { expect, it } from 'vitest';
import { openFolderSource } from '../../packages/server/src/node/folder-source.ts';
import { goldenCases } from '../e2e/models.ts';
import { openTestCudaEmu } from '../support/devices.ts';

it.each(['models/tiny-llama', 'models/tiny-opt'])('gives the golden tokens of %s', async folder => {
  const device = await openTestCudaEmu({ chip: { smCount: 3, order: 'shuffled' } });
  const runtime = {
    openDevice: () => Promise.reject(new Error('The test opens its own device.')),
    openSource: openFolderSource,
  };
  const options = { dtype: 'float32', maxNumSeqs: 16, maxNumBatchedTokens: 128, numGpuBlocksOverride: 200 };
  await using llm = new LLM({ model: folder, device, ...options }, runtime);
  const { runner } = await llm.load();
  expect(runner.dtypes).toMatchObject({ activations: 'f32', kvCache: 'f32' });
  const flight = watchFlight(runner);
  const cases = goldenCases(folder);
  const outputs = await llm.generate(
    cases.map(golden => golden.prompt),
    cases.map(({ maxTokens }) => ({ temperature: 0, maxTokens })),
  );
  cases.forEach(({ name, tokenIds, text, finishReason }, index) => {
    expect(outputs[index]!.outputs[0], name).toMatchObject({ tokenIds, text, finishReason });
  });
  expect(flight).toMatchObject({ mostSubmits: 2, mostRepeats: 4 });
  // Most steps only decode, and all of these but the first of a batch size replay.
  const replays = (await device.graphs()).reduce((sum, graph) => sum + graph.replays, 0);
  expect(replays).toBeGreaterThan(flight.steps / 2);
});

/** How far the engine runs ahead: submits in flight at once, repeats of one submit, and steps altogether. */
function watchFlight(runner: ModelRunner): { mostSubmits: number; mostRepeats: number; steps: number } {
  const submit = runner.submit.bind(runner);
  const flight = { mostSubmits: 0, mostRepeats: 0, steps: 0 };
  let inFlight = 0;
  runner.submit = step => {
    flight.mostSubmits = Math.max(flight.mostSubmits, ++inFlight);
    flight.mostRepeats = Math.max(flight.mostRepeats, step.times);
    flight.steps += step.times;
    const result = submit(step);
    const landed = () => {
      inFlight--;
    };
    result.then(landed, landed);
    return result;
  };
  return flight;
}
