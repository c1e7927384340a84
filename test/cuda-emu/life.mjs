/**
 * A process that gives the addon work and then ends in one of the ways in which a process can: `node life.mjs ADDON WAY`. It uses
 * the addon alone, so that Node needs no help to run it. See process-end.test.ts.
 */
import { createRequire } from 'node:module';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const ROWS = 64;
const COLUMNS = 1024;
const ILLEGAL_ADDRESS = 700;

const [path, way] = isMainThread ? process.argv.slice(2) : workerData;
const addon = createRequire(import.meta.url)(path);

const options = { ordinal: 0, graphs: true, batchInvariant: true, choicesFile: '', prefill: 'trial' };

/** A device with `times` steps of some milliseconds in its queue, and promises that wait for them. */
function openBusy(times) {
  const device = new addon.Device(options, () => {});
  const x = device.createTensor(ROWS * COLUMNS * 4, 0);
  const weight = device.createTensor(COLUMNS * 4, 0);
  const tensors = { x: [x, 0, 0, ROWS, -1, COLUMNS], weight: [weight, 0, 0, COLUMNS, -1, 1] };
  const op = { op: 'layerNorm', tensors: { ...tensors, out: tensors.x }, attributes: { eps: 1e-5 } };
  const { id } = device.compile({ name: 'busy', maxSizes: new Int32Array(7), ops: [op] });
  device.submit(Int32Array.of(id, 0, 0, 0, 0, 0, 0, 0), times);
  const pending = [device.read(x, 0, new Uint8Array(64)), device.synchronize()];
  for (const promise of pending) promise.catch(() => {});
  return { device, id, pending };
}

const ENDLESS = 1_000_000;
const soon = () => new Promise(resolve => setTimeout(resolve, 30));

/** A device that was lost to a sticky error, and not disposed of. */
async function openLost() {
  const { device, id, pending } = openBusy(1);
  await Promise.all(pending);
  addon.injectError(ILLEGAL_ADDRESS, 0);
  device.submit(Int32Array.of(id, 0, 0, 0, 0, 0, 0, 0), 1);
  const [result] = await Promise.allSettled([device.synchronize()]);
  return { device, result };
}

async function terminateWorkers(inner) {
  for (let i = 0; i < 3; i++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: [path, inner] });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    await worker.terminate();
    // The workers' devices are gone: a sticky error of this process can end.
    addon.reset(0);
  }
}

const ways = {
  /** Nothing is pending: the device does not keep the process alive. */
  idle: async () => {
    const { pending } = openBusy(1);
    await Promise.all(pending);
  },
  /** A pending promise does. */
  pending: async () => {
    const { pending } = openBusy(5);
    void Promise.all(pending).then(() => console.log('settled'));
  },
  exit: async () => {
    openBusy(ENDLESS);
    await soon();
    process.exit(0);
  },
  throw: async () => {
    openBusy(ENDLESS);
    await soon();
    throw new Error('thrown with work in flight');
  },
  lost: async () => {
    const { result } = await openLost();
    console.log(result.reason.message);
  },
  'exit while disposing': async () => {
    const { device } = openBusy(ENDLESS);
    void device.dispose();
    process.exit(0);
  },
  'terminate busy workers': () => terminateWorkers('busy worker'),
  'terminate workers with a lost device': () => terminateWorkers('lost worker'),
  'busy worker': async () => {
    openBusy(ENDLESS);
    await soon();
    parentPort.postMessage('busy');
    await new Promise(() => setInterval(() => {}, 1000));
  },
  'lost worker': async () => {
    await openLost();
    parentPort.postMessage('lost');
    await new Promise(() => setInterval(() => {}, 1000));
  },
};

await ways[way]();
