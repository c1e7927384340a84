/**
 * llama-decode.mjs FOLDER FILE.gguf vulkan|cpu: tokens per second of decoding in llama.cpp, as JSON. FOLDER is where node-llama-cpp is
 * installed. As `quire bench offline`: prompts of 16 random ids, 128 greedy tokens, from the first token of any to the last of all.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [, , folder, file, kind] = process.argv;
const PROMPT = 16;
const TOKENS = 128;
// It takes no adapter on the processor unless it is told to.
if (kind === 'vulkan') process.env.GGML_VK_VISIBLE_DEVICES ??= '0';
const entry = createRequire(join(folder, 'package.json')).resolve('node-llama-cpp');
const { getLlama } = await import(pathToFileURL(entry));
const llama = await getLlama({ gpu: kind === 'vulkan' ? 'vulkan' : false, build: 'never', logLevel: 'error' });
const devices = await llama.getGpuDeviceNames();
if (kind === 'vulkan' && devices.length === 0) throw new Error('its Vulkan backend opened no adapter');
const model = await llama.loadModel({ modelPath: file, gpuLayers: kind === 'vulkan' ? 'max' : 0 });
const rates = {};
for (const batch of [1, 16]) {
  const context = await model.createContext({ contextSize: 256, sequences: batch, batchSize: 512, threads: 2 });
  const sequences = Array.from({ length: batch }, () => context.getSequence());
  await decode(sequences);
  rates[batch] = await decode(sequences);
  await context.dispose();
}
await llama.dispose();
console.log(JSON.stringify({ name: `llama.cpp, ${kind === 'vulkan' ? devices.join(', ') : 'processor'}`, rates }));

async function decode(sequences) {
  let first = Infinity;
  const one = async (sequence, index) => {
    await sequence.clearHistory();
    const prompt = Array.from({ length: PROMPT }, (_, i) => 3 + ((7919 * (i + 1) * (index + 1)) % 200));
    let count = 0;
    for await (const _ of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
      first = Math.min(first, performance.now());
      if (++count === TOKENS) break;
    }
  };
  await Promise.all(sequences.map(one));
  return (sequences.length * (TOKENS - 1) * 1000) / (performance.now() - first);
}
