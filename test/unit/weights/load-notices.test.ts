import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openReferenceDevice } from '@quire/core/reference';
import { expect, it } from 'vitest';
import { loadEngine, parseEngineConfig } from '../../../packages/core/src/index.ts';
import { nodeRuntime } from '../../../packages/server/src/index.ts';

const sharded = new URL('../../fixtures/models/gpt2-sharded', import.meta.url).pathname;

it('an engine tells what is odd in the checkpoint that it was loaded from', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'quire-'));
  cpSync(sharded, folder, { recursive: true });
  const path = join(folder, 'model.safetensors.index.json');
  const index = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...index, metadata: { total_size: 1 } }));
  const [source, device] = [await nodeRuntime.openSource(folder, {}), await openReferenceDevice()];
  const config = parseEngineConfig({ model: folder, skipTokenizerInit: true, numGpuBlocksOverride: 16 });
  const { asyncLLM, notices } = await loadEngine({ source, device, config });
  expect(notices).toContainEqual(expect.stringContaining('metadata.total_size is 1, the tensors have'));
  await asyncLLM.dispose();
  await device.dispose();
  await source.close();
  rmSync(folder, { recursive: true });
});
