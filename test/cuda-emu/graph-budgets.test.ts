/** Launches of a decode step, counted on the emulator, against the budgets of budgets/graph.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadEmulator } from '@quire/backend-cuda';
import { expect, it } from 'vitest';
import { packageFolder } from '../../packages/backend-cuda/scripts/sources.mjs';
import { LLM } from '../../packages/server/src/node/llm.ts';
import { openTestCudaEmu } from '../support/devices.ts';

interface StepCounts {
  launchesPerLayer: number;
  /** Of the rest of a step, those of the operations of sampling. */
  samplingLaunches: number;
  otherLaunches: number;
  copies: number;
  sets: number;
}
const root = join(import.meta.dirname, '../..');
const recorded = JSON.parse(readFileSync(join(packageFolder, 'budgets/graph.json'), 'utf8')) as {
  sampling: string[];
  steps: Record<string, StepCounts>;
};

const sampled = { temperature: 0.8, topK: 50, topP: 0.95, seed: 1 };
const samplings = {
  greedy: { temperature: 0 },
  sampled,
  processed: { ...sampled, presencePenalty: 0.5, logitBias: { 7: 2 } },
};
const cases = [
  ...['models/tiny-llama', 'models/tiny-opt'].flatMap(model =>
    (['greedy', 'sampled'] as const).map(sampling => ({ model, sampling })),
  ),
  { model: 'models/tiny-llama', sampling: 'processed' as const },
];

it.each(cases)('a step of $model, $sampling, launches what is recorded', async ({ model, sampling }) => {
  const { num_hidden_layers: layers } = JSON.parse(readFileSync(join(root, model, 'config.json'), 'utf8'));
  const device = await openTestCudaEmu();
  const llm = new LLM({ model: join(root, model), device, dtype: 'bfloat16', maxModelLen: 64 });
  const generate = async (maxTokens: number) => {
    const before = launches();
    await llm.generate('7 + 8 =', { ...samplings[sampling], maxTokens, ignoreEos: true });
    return difference(launches(), before);
  };
  const few = await generate(8);
  const more = await generate(16);
  const graphs = await device.graphs();
  await llm.dispose();
  const step = perStep(difference(more, few), layers);
  expect(graphs.map(({ batch }) => batch)).toEqual([1]);
  const { kernels, copies, sets } = graphs[0]!;
  expect(step.launchesPerLayer * layers + step.samplingLaunches + step.otherLaunches).toBe(kernels);
  expect({ ...step, copies, sets }).toEqual(recorded.steps[`${model} ${sampling}`]);
});

type Launches = Record<string, number>;

/** By kernel, since the process began. */
function launches(): Launches {
  return Object.fromEntries(
    Object.entries(loadEmulator().counters()).map(([name, counters]) => [name, counters.launches]),
  );
}

function difference(now: Launches, before: Launches): Launches {
  const all = Object.entries(now).map(([name, count]) => [name, count - (before[name] ?? 0)] as const);
  return Object.fromEntries(all.filter(([, count]) => count !== 0));
}

/** Every step prepares its inputs once; what a step launches less often than it has layers belongs to none. */
function perStep(all: Launches, layers: number): Omit<StepCounts, 'copies' | 'sets'> {
  const counts = { launchesPerLayer: 0, samplingLaunches: 0, otherLaunches: 0 };
  for (const [name, count] of Object.entries(all)) {
    const inStep = count / all.prepareInputs!;
    // A delta of the host, when it grants a row its next block.
    if (name === 'applyRowDelta' && inStep < 1) continue;
    counts.launchesPerLayer += Math.floor(inStep / layers);
    counts[recorded.sampling.includes(name) ? 'samplingLaunches' : 'otherLaunches'] += inStep % layers;
  }
  return counts;
}
