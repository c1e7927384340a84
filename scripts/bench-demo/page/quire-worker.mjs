/** The engine as a library user would open it: its own defaults, and no traces. */
import { openWebGpuDevice } from '@quire/backend-webgpu';
import { loadEngine, MemorySource, parseEngineConfig } from '@quire/core';
import { openReferenceDevice } from '@quire/core/reference';

const FILES = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'];
let engine;

async function open({ device: kind }) {
  const bytes = async file => [file, new Uint8Array(await (await fetch(`/tiny-llama/${file}`)).arrayBuffer())];
  const source = new MemorySource(new Map(await Promise.all(FILES.map(bytes))), 'tiny-llama');
  const device = kind === 'webgpu' ? await openWebGpuDevice(navigator.gpu) : await openReferenceDevice();
  const config = parseEngineConfig({ model: 'tiny-llama', maxModelLen: 256, maxNumSeqs: 8, numGpuBlocksOverride: 128 });
  engine = (await loadEngine({ source, device, config })).asyncLLM;
  return device.info.name;
}

async function generate({ prompt, maxTokens }) {
  let tokens = 0;
  const params = { temperature: 0, maxTokens, ignoreEos: true };
  for await (const { outputs } of engine.generate(prompt, params)) tokens = outputs[0].tokenIds.length;
  return tokens;
}

addEventListener('message', async ({ data: { id, kind, ...rest } }) => {
  try {
    postMessage({ id, result: await (kind === 'open' ? open(rest) : generate(rest)) });
  } catch (error) {
    postMessage({ id, error: String(error.stack ?? error) });
  }
});
