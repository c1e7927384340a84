/** quire-decode.mjs FOLDER: tokens per second of decoding on the WebGPU adapter, as JSON. */
import { loadEngine, parseEngineConfig } from '../../packages/core/dist/index.js';
import { benchOffline } from '../../packages/server/dist/bench/offline.js';
import { openFolderSource } from '../../packages/server/dist/node/folder-source.js';
import { openDevice } from '../../packages/server/dist/node/open-device.js';

const [, , folder] = process.argv;
const device = await openDevice('webgpu');
const config = parseEngineConfig({
  model: folder,
  skipTokenizerInit: true,
  maxModelLen: 256,
  maxNumSeqs: 16,
  numGpuBlocksOverride: 300,
});
const { asyncLLM } = await loadEngine({ source: await openFolderSource(folder), device, config });
const rows = await benchOffline(asyncLLM);
const { name } = device.info;
await asyncLLM.dispose();
await device.dispose();
const rate = batch => rows.find(row => row.name === `offline.decode.batch${batch}`).value;
console.log(JSON.stringify({ name, rates: { 1: rate(1), 16: rate(16) } }));
