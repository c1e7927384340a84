import { join } from 'node:path';
import type { CudaDevice } from '@quire/backend-cuda';
import { expect, it } from 'vitest';
import { LLM, openDevice } from '../../packages/server/src/index.ts';

const model = join(import.meta.dirname, '../../models/tiny-llama');

it.each([false, true])('enforceEager %s: steady decode is captured as graphs unless it is set', async enforceEager => {
  const device = (await openDevice('cuda-emu', { enforceEager })) as CudaDevice;
  try {
    expect(device.info.capabilities.graphs).toBe(!enforceEager);
    await using llm = new LLM({
      model,
      device,
      enforceEager,
      numGpuBlocksOverride: 20,
      maxNumSeqs: 2,
      maxNumBatchedTokens: 64,
    });
    const [output] = await llm.generate(['One day, the dog'], { temperature: 0, maxTokens: 12, ignoreEos: true });
    expect(output!.outputs[0]!.tokenIds).toHaveLength(12);
    expect((await device.graphs()).length > 0).toBe(!enforceEager);
  } finally {
    await device.dispose();
  }
});
