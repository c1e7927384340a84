import { loadEngine, type ModelSource, parseEngineConfig } from '@quire/core';
import { openReferenceDevice } from '@quire/core/reference';

/** Starts an engine on a model folder, as the server does, and uses its chat template once. */
export async function loadFolder(source: ModelSource): Promise<void> {
  const device = await openReferenceDevice();
  try {
    const config = parseEngineConfig({
      maxModelLen: 64,
      maxNumSeqs: 2,
      maxNumBatchedTokens: 64,
      numGpuBlocksOverride: 8,
    });
    const { asyncLLM, tokenizer } = await loadEngine({ source, device, config });
    try {
      if (tokenizer?.hasChatTemplate) tokenizer.encodeChat([{ role: 'user', content: 'Hello!' }]);
    } finally {
      await asyncLLM.dispose();
    }
  } finally {
    await device.dispose();
  }
}
