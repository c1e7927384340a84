/** Whole models on the emulated CUDA kernels, every tensor of the program compared with the reference device. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { crosscheckModelFolder } from '../../packages/server/src/node/crosscheck-model.ts';
import { openTestCudaEmu } from '../support/devices.ts';

const root = join(import.meta.dirname, '../..');
const prompts = ['Once upon a time, there was a hungry dog named Max.', '7 + 8 ='];

describe.each(['models/tiny-llama', 'models/tiny-opt'])('%s', folder => {
  it.each(['auto', 'f16', 'bf16'] as const)('agrees with reference in dtype %s', async dtype => {
    const device = await openTestCudaEmu();
    for (const prompt of prompts) {
      const report = await crosscheckModelFolder(join(root, folder), { name: 'cuda-emu', device }, prompt, dtype);
      expect(report.first, JSON.stringify(report)).toBeNull();
      expect(report.worst).toBeGreaterThan(0);
      expect(report.tensors).toBeGreaterThan(40);
    }
  });
});
