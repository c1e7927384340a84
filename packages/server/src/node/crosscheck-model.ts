import { crosscheckModel } from '@quire/conformance';
import {
  chooseDTypes,
  type DebugRunner,
  type EngineConfig,
  loadTokenizer,
  type ModelConfig,
  type ModelDTypes,
  type ModelSource,
  openCheckpoint,
  openDebugRunner,
  parseModelConfig,
} from '@quire/core';
import type { Device, OpName } from '@quire/core/contract';
import { openModelSource } from './model-folder.ts';
import { openDevice } from './open-device.ts';

export interface ModelFolderReport {
  /** How many tensors were compared. */
  tensors: number;
  /** The largest error over its tolerance; null stands for infinity. */
  worst: number;
  /** The first in the order of the program whose error is out of tolerance. */
  first: { opIndex: number; op: OpName; tensor: string } | null;
}

/**
 * Runs a prompt through a model, a folder or a name, on the reference device and on `checked`, and compares every tensor of the program. Both compute
 * in what an engine with this `dtype` takes on `checked`.
 */
export async function crosscheckModelFolder(
  model: string,
  checked: { name: string; device: Device },
  prompt: string,
  dtype: EngineConfig['dtype'] = 'auto',
): Promise<ModelFolderReport> {
  const source = await openModelSource(model, {});
  // The same bound on both devices, so that both run the same program.
  const oracle = await openDevice('reference', { maxTensorBytes: checked.device.info.limits.maxTensorBytes });
  const runners: DebugRunner[] = [];
  try {
    const modelConfig = await parseModelConfig(source);
    const tokenIds = (await loadTokenizer(source)).encode(prompt, { maxTokens: modelConfig.maxPositionEmbeddings });
    const dtypes = chooseDTypes({ dtype, kvCacheDtype: 'auto' }, modelConfig, checked.device);
    const sides = [];
    for (const { name, device } of [{ name: 'reference', device: oracle }, checked]) {
      const runner = await openRunner(source, modelConfig, dtypes, device, tokenIds.length);
      runners.push(runner);
      sides.push({ name, device, runner, sizes: runner.prepareStep(tokenIds) });
    }
    const [left, right] = sides as [(typeof sides)[0], (typeof sides)[0]];
    const report = await crosscheckModel({
      program: left.runner.executable.program,
      sizes: left.sizes,
      devices: [
        { name: left.name, device: left.device, bindings: left.runner.bindings },
        { name: right.name, device: right.device, bindings: right.runner.bindings },
      ],
    });
    const worst = Math.max(...report.tensors.map(tensor => tensor.worst));
    return { tensors: report.tensors.length, worst, first: report.first ?? null };
  } finally {
    for (const runner of runners) runner.dispose();
    await oracle.dispose();
    await source.close();
  }
}

async function openRunner(
  source: ModelSource,
  modelConfig: ModelConfig,
  dtypes: ModelDTypes,
  device: Device,
  maxTokens: number,
) {
  return openDebugRunner({ device, modelConfig, dtypes, checkpoint: await openCheckpoint(source), maxTokens });
}
