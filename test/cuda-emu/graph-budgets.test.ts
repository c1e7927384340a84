/** Launches of a decode step, counted on the emulator, against the budgets of budgets/graph.json. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
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
interface Step {
  model: string;
  sampling: keyof typeof samplings;
  /** All layers in one cooperative launch; else the chip has none. */
  persistent?: boolean;
}
const cases: readonly Step[] = [
  ...['models/tiny-llama', 'models/tiny-opt'].map(model => ({ model, sampling: 'greedy' as const })),
  // Norms behind the parts of a layer, of sums, of all heads of a row; mixtures of experts.
  ...['gemma2', 'gemma3', 'olmo2', 'opt-post-norm', 'qwen3-tied', 'qwen3-moe'].map(name => ({
    model: `test/fixtures/models/${name}`,
    sampling: 'greedy' as const,
  })),
  ...['models/tiny-llama', 'models/tiny-opt', 'test/fixtures/models/qwen3-tied'].map(model => ({
    model,
    sampling: 'greedy' as const,
    persistent: true,
  })),
  // filterLogits is a cooperative launch itself.
  { model: 'models/tiny-llama', sampling: 'sampled', persistent: true },
  { model: 'models/tiny-opt', sampling: 'sampled', persistent: true },
  { model: 'models/tiny-llama', sampling: 'processed', persistent: true },
];

it.each(cases)('a step of $model, $sampling, launches what is recorded', async step => {
  const { model, sampling, persistent = false } = step;
  const [few, more] = [await countStep(step, 1), await countStep(step, 2)];
  const { kernels, samplingLaunches, copies, sets } = few;
  const launchesPerLayer = more.kernels - kernels;
  const otherLaunches = kernels - launchesPerLayer - samplingLaunches;
  expect({ launchesPerLayer, samplingLaunches, otherLaunches, copies, sets }).toEqual(
    recorded.steps[`${model} ${sampling}${persistent ? ', persistent' : ''}`],
  );
});

/** What the graph of a step of one row holds, of a model of so many layers with seeded stand-ins for weights. */
async function countStep({ model, sampling, persistent = false }: Step, layers: number) {
  const folder = mkdtempSync(join(tmpdir(), 'quire-layers-'));
  const config = JSON.parse(readFileSync(join(root, model, 'config.json'), 'utf8'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, num_hidden_layers: layers }));
  const device = await openTestCudaEmu({ chip: { cooperative: persistent } });
  const options = { dtype: 'bfloat16', loadFormat: 'dummy', skipTokenizerInit: true, maxModelLen: 64 } as const;
  const llm = new LLM({ model: folder, device, ...options });
  const prompt = { promptTokenIds: [7, 3, 8, 5, 9] };
  const generate = async (maxTokens: number) => {
    const before = launches();
    await llm.generate(prompt, { ...samplings[sampling], maxTokens, ignoreEos: true });
    return difference(launches(), before);
  };
  const once = await generate(3);
  const all = difference(await generate(6), once);
  const graphs = await device.graphs();
  await llm.dispose();
  rmSync(folder, { recursive: true });
  expect(graphs.map(({ batch }) => batch)).toEqual([1]);
  const { kernels, copies, sets } = graphs[0]!;
  // Every step prepares its inputs once.
  const samplingLaunches = recorded.sampling.reduce((sum, name) => sum + (all[name] ?? 0) / all.prepareInputs!, 0);
  return { kernels, samplingLaunches, copies, sets };
}

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
