import { openReferenceDevice } from '@quire/core/reference';
import { describe, expect, it } from 'vitest';
import {
  loadEngine,
  memoryNeed,
  openCheckpoint,
  parseEngineConfig,
  parseModelConfig,
} from '../../../packages/core/src/index.ts';
import { nodeRuntime } from '../../../packages/server/src/index.ts';

describe.each(['tiny-llama', 'tiny-opt'])('what %s will take', name => {
  const location = new URL(`../../../models/${name}`, import.meta.url).pathname;
  const config = parseEngineConfig({ model: name, numGpuBlocksOverride: 64, maxNumSeqs: 12, maxNumBatchedTokens: 64 });

  it('is what the loaded engine holds, and nothing is allocated for the answer', async () => {
    const source = await nodeRuntime.openSource(location, {});
    const device = await openReferenceDevice();
    const need = await memoryNeed(config, await parseModelConfig(source), await openCheckpoint(source), device);
    expect(device.allocatedBytes()).toBe(0);
    const { asyncLLM } = await loadEngine({ source, device, config });
    const held = device.allocatedBytes();
    const total = need.weights + need.kvCache + need.working;
    expect(held).toBeGreaterThan(need.weights + need.kvCache);
    expect(held / total).toBeGreaterThan(0.9);
    expect(held / total).toBeLessThan(1.1);
    await asyncLLM.dispose();
    await device.dispose();
    await source.close();
  });

  it('is refused where the limits of a device have no room for it', async () => {
    const source = await nodeRuntime.openSource(location, {});
    const device = await openReferenceDevice({ maxTensorBytes: 2048 });
    const [model, checkpoint] = [await parseModelConfig(source), await openCheckpoint(source)];
    await expect(memoryNeed(config, model, checkpoint, device)).rejects.toThrow(/binds at most 2048 bytes/);
    await device.dispose();
    await source.close();
  });
});
