/** Engines with arguments under test, on tiny-llama and the reference device. */
import {
  type EngineOptions,
  loadEngine,
  openModelInputs,
  parseEngineConfig,
  type RequestOutput,
  type SamplingParams,
  type StepReport,
} from '@quire/core';
import type { Device } from '@quire/core/contract';
import { nodeRuntime } from '../../packages/server/src/index.ts';
import { openTestReference } from '../support/devices.ts';
import { tinyLlama } from './tiny-server.ts';

export const small = { numGpuBlocksOverride: 120, maxNumSeqs: 8, maxNumBatchedTokens: 128 } as const;
export const greedy = { temperature: 0, maxTokens: 8, ignoreEos: true } as const;

/** Runs prompts on an engine of its own, and tells what its steps were. */
export async function run(
  options: EngineOptions & { device?: Device },
  prompts: readonly (string | readonly number[])[],
  params: SamplingParams = greedy,
) {
  const { device = await openTestReference(), ...rest } = options;
  const config = parseEngineConfig({ model: tinyLlama, ...small, ...rest });
  const opened: { close(): Promise<void> }[] = [];
  const inputs = await openModelInputs(config, config.model, nodeRuntime, resource => opened.push(resource));
  const steps: StepReport[] = [];
  try {
    const engine = await loadEngine({
      ...inputs,
      device,
      config,
      observer: { onStep: report => steps.push({ ...report }) },
    });
    try {
      const streams = prompts.map(prompt => engine.asyncLLM.generate(prompt, params, { outputKind: 'final' }));
      const outputs: RequestOutput[] = [];
      for (const stream of streams) for await (const output of stream) outputs.push(output);
      const { limits } = engine.asyncLLM;
      return { outputs, steps, limits, kvCache: engine.runner.kvCache, stats: engine.asyncLLM.stats() };
    } finally {
      await engine.asyncLLM.dispose();
    }
  } finally {
    for (const resource of opened) await resource.close();
  }
}

export const tokensOf = (outputs: readonly RequestOutput[]) => outputs.map(({ outputs: [first] }) => first!.tokenIds);
export const prompt = (length: number, start = 260) => Array.from({ length }, (_, i) => start + ((i * 37) % 500));
