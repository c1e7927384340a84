import { totalmem } from 'node:os';
import { LLM as CoreLLM, type LLMOptions, type LLMRuntime } from '@quire/core';
import { openFolderSource } from './folder-source.ts';
import { openGrammarThread } from './grammar-thread.ts';
import { openModelSource } from './model-folder.ts';
import { openDevice } from './open-device.ts';
import { readText } from './read-text.ts';
import { openWeightCache } from './weight-cache.ts';

/** Names in Node: devices by kind, models by folder or by their name on Hugging Face. */
export const nodeRuntime: LLMRuntime = {
  openDevice,
  openGrammarThread,
  openSource: openModelSource,
  openAdapter: openFolderSource,
  readText,
  openWeightCache,
  hostMemoryBytes: totalmem(),
};

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
