import {
  ConfigError,
  type EngineConfig,
  hasTokenizer,
  loadTokenizer,
  openModelInputs,
  type Tokenizer,
} from '@quire/core';
import { nodeRuntime } from '../node/llm.ts';
import { Cleanup } from '../serve/cleanup.ts';

/** The tokenizer of a configuration alone. Rejects with ConfigError when there is none, and ModelFormatError for a broken one. */
export async function openTokenizer(config: EngineConfig): Promise<Tokenizer> {
  if (config.skipTokenizerInit) throw needsTokenizer();
  const opened = new Cleanup();
  try {
    // Weights, what is kept of them, and other models are the engine's.
    const own = { ...config, loadFormat: 'auto', speculativeConfig: null } as const;
    const inputs = await openModelInputs(own, config.model, nodeRuntime, source => opened.with(source, s => s.close()));
    const { source, tokenizerSource = source, chatTemplate } = inputs;
    if (!(await hasTokenizer(tokenizerSource))) throw needsTokenizer();
    return await loadTokenizer(tokenizerSource, chatTemplate);
  } finally {
    await opened.run();
  }
}

export function needsTokenizer(): ConfigError {
  return new ConfigError(
    'The server answers with text and needs a tokenizer: name a folder that has one.',
    'tokenizer',
  );
}
