import type { EngineConfig } from '../engine/engine-config.ts';
import { openCheckpoint } from '../weights/index.ts';
import type { Checkpoint, ModelSource } from '../weights/types.ts';

/** null: stand-ins. */
export async function readCheckpoint(source: ModelSource, { loadFormat }: EngineConfig): Promise<Checkpoint | null> {
  if (loadFormat === 'dummy') return null;
  const isOne = loadFormat === 'safetensors' || loadFormat === 'pt';
  return isOne ? openCheckpoint(source, loadFormat) : openCheckpoint(source);
}
