/** load-once.mjs FOLDER DEVICE STARTED: loads a model in this process, and prints times, memory and speeds as JSON. */
const [, , folder, kind, started] = process.argv;
const stages = {};
let last = Number(started);
/** Milliseconds since the end of the stage before. */
const stage = name => {
  const now = Date.now();
  stages[name] = now - last;
  last = now;
};
stage('node');
const { parseEngineConfig, loadEngine } = await import('../../packages/core/dist/index.js');
const { openDevice } = await import('../../packages/server/dist/node/open-device.js');
const { openFolderSource } = await import('../../packages/server/dist/node/folder-source.js');
stage('modules');
const device = await openDevice(kind);
stage('device');
const source = await openFolderSource(folder);
const config = parseEngineConfig({ model: folder, skipTokenizerInit: true, maxModelLen: 64, numGpuBlocksOverride: 16 });
const memory = { before: 0, peak: 0, device: 0 };
const timeStage = async (name, run) => {
  if (name === 'weights') stage('config');
  if (name === 'weights') memory.before = rss();
  const result = await run();
  if (name === 'weights') {
    // Uploads are queued: a device is written when it says so.
    await device.synchronize();
    Object.assign(memory, { peak: rss(), device: device.allocatedBytes() });
  }
  stage(name);
  return result;
};
const { asyncLLM } = await loadEngine({ source, device, config, timeStage });
stage('engine');
const params = { temperature: 0, maxTokens: 1, ignoreEos: true, detokenize: false };
for await (const output of asyncLLM.generate({ promptTokenIds: [1, 17, 4711] }, params, { outputKind: 'final' })) {
  if (output.error !== null) throw output.error;
}
stage('first token');
stages.total = Date.now() - Number(started);
const { name } = device.info;
await asyncLLM.dispose();
await source.close();
const writeRate = await writeSpeed();
await device.dispose();
console.log(
  JSON.stringify({
    device: name,
    stages,
    peakBytes: memory.peak - memory.before,
    deviceBytes: memory.device,
    writeRate,
  }),
);

/** The most memory that this process had so far. */
function rss() {
  return process.resourceUsage().maxRSS * 1024;
}

/** MB/s into new tensors of the device, from chunks in memory of the size that files are read in. */
async function writeSpeed() {
  const chunk = new Uint8Array(2 << 20).fill(1);
  const count = 64;
  async function* chunks() {
    for (let i = 0; i < count; i++) yield chunk;
  }
  let best = 0;
  for (let i = 0; i < 3; i++) {
    const spec = { name: 'write', dtype: 'f16', shape: [(count * chunk.length) / 2], usage: 'weight' };
    const tensor = device.createTensor(spec);
    const start = performance.now();
    await device.upload(tensor, chunks());
    await device.synchronize();
    best = Math.max(best, (count * chunk.length) / 1e3 / (performance.now() - start));
    tensor.dispose();
  }
  return best;
}
