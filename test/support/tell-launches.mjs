/** Loaded in front of a program (`node --import`): says at its end how many sums the emulated GPUs of its process made in one launch. */
import { createRequire } from 'node:module';

process.on('exit', () => {
  const addon = createRequire(import.meta.url)('../../packages/backend-cuda/build/emu/Release/quire_cuda.node');
  process.stderr.write(`sums in one launch: ${addon.counters().allReduceOneShot?.launches ?? 0}\n`);
});
