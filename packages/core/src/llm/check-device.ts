import type { DeviceInfo } from '../contract/contract.ts';
import type { EngineConfig } from '../engine/engine-config.ts';
import { ConfigError } from '../errors.ts';

/** Throws ConfigError for the first option that the engine on this device cannot honour. */
export function checkDevice(config: EngineConfig, { ranks, stages, capabilities, kind }: DeviceInfo): void {
  const { tensorParallelSize, pipelineParallelSize, batchInvariant, enforceEager } = config;
  if (tensorParallelSize !== ranks) {
    throw new ConfigError(
      `tensorParallelSize is ${tensorParallelSize}, but the device has ${ranks} rank${ranks === 1 ? '' : 's'}. Open a group of as many ranks.`,
      'tensorParallelSize',
    );
  }
  if (pipelineParallelSize !== stages) {
    throw new ConfigError(
      `pipelineParallelSize is ${pipelineParallelSize}, but the device has ${stages} stage${stages === 1 ? '' : 's'}. Open a group of as many stages.`,
      'pipelineParallelSize',
    );
  }
  if (batchInvariant && !capabilities.batchInvariant) {
    throw new ConfigError(
      `batchInvariant cannot be had on ${kind}: its logits may depend on the batch. Use another device, or leave it out.`,
      'batchInvariant',
    );
  }
  if (enforceEager && capabilities.graphs) {
    throw new ConfigError(
      `enforceEager is decided when a device is opened, and this one (${kind}) was opened with graphs. Open it without.`,
      'enforceEager',
    );
  }
}
