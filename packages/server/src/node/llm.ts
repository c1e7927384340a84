import { LLM as CoreLLM, type LLMOptions, type LLMRuntime } from '@quire/core';
import { openFolderSource } from './folder-source.ts';
import { openDevice } from './open-device.ts';

/** Names in Node: devices by kind, models by folder. */
export const nodeRuntime: LLMRuntime = { openDevice, openSource: openFolderSource };

/**
 * Offline inference in Node: `new LLM({ model: 'folder' })`, then `generate` or `chat`, then `dispose`. The device is the best
 * of this machine unless `device` says otherwise.
 */
export class LLM extends CoreLLM {
  /** Throws ConfigError for an unknown option (naming the nearest) or a value out of range. */
  constructor(options: LLMOptions) {
    super(options, nodeRuntime);
  }
}
