/**
 * npm run bench:load [-- --device KIND --megabytes N --json]: how fast a checkpoint comes onto a device, in how much memory, and what the time to
 * the first token of a new process is made of. The checkpoint is a Llama of random f16 weights, made once in .cache/bench-load. Its pages are
 * dropped from the cache of the file system before each reading. The limit of the speed is the slower of `cat` and of writing to the device
 * from memory; that of the memory is 1.2 times the file beside what the device allocates. Speeds are the best of five runs.
 */
import { spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { benchReport } from '../packages/server/dist/bench/report.js';
import { writeLlama } from './bench-load/checkpoint.mjs';

const root = resolve(import.meta.dirname, '..');
const RUNS = 5;
const options = parseArgs({
  options: {
    device: { type: 'string', default: 'webgpu' },
    megabytes: { type: 'string', default: '500' },
    json: { type: 'boolean', default: false },
  },
}).values;

const folder = join(root, '.cache/bench-load', `by-name-${options.megabytes}`);
const file = join(folder, 'model.safetensors');
if (!existsSync(file)) await writeLlama(folder, Number(options.megabytes) * 1e6);
const bytes = statSync(file).size;

const read = Math.max(...(await times(RUNS, async () => bytes / 1e6 / (await timeCat()))));
const runs = await times(RUNS, loadOnce);
const best = runs.reduce((a, b) => (a.stages.weights <= b.stages.weights ? a : b));
const limit = Math.min(read, best.writeRate);
const megabytes = value => Math.round(value / 1e6);
const row = (name, value, unit, limit = null) => ({ name, value, unit, limit, share: limit && value / limit });
const rate = bytes / 1e3 / best.stages.weights;
const rows = [
  row('load.cat', Math.round(read), 'MB/s'),
  row('load.deviceWrite', Math.round(best.writeRate), 'MB/s'),
  row('load.weights', Math.round(rate), 'MB/s', Math.round(limit)),
  row('load.peak', megabytes(best.peakBytes), 'MB', megabytes(1.2 * bytes + best.deviceBytes)),
  ...Object.entries(best.stages).map(([stage, ms]) =>
    row(`load.time.${stage.replaceAll(' ', '')}`, Math.round(ms), 'ms'),
  ),
];
const report = await benchReport(best.device, rows);
if (options.json) console.log(JSON.stringify(report));
else {
  console.log(`${report.machine}; ${report.device}; ${report.commit}; ${megabytes(bytes)} MB`);
  for (const { name, value, unit, limit, share } of rows) {
    console.log(`${name.padEnd(20)} ${value} ${unit}${limit ? ` of ${limit} (${Math.round(100 * share)} %)` : ''}`);
  }
}

async function times(count, run) {
  const results = [];
  for (let i = 0; i < count; i++) results.push(await run());
  return results;
}

/** Seconds. */
async function timeCat() {
  await prepare();
  const start = performance.now();
  await output('cat', [file], 'ignore');
  return (performance.now() - start) / 1000;
}

async function loadOnce() {
  await prepare();
  const started = String(Date.now());
  const script = join(root, 'scripts/bench-load/load-once.mjs');
  return JSON.parse(await output(process.execPath, [script, folder, options.device, started]));
}

/**
 * Drops the pages of the file, of which nothing is written any more, without any privilege. And uses as much memory as a run will: a virtual
 * machine is given memory by its host when it first uses it, which takes longer than what is measured here.
 */
async function prepare() {
  await output('dd', [`if=${file}`, 'iflag=nocache', 'count=0', 'status=none']);
  await output(process.execPath, ['-e', `new Uint8Array(${3 * bytes}).fill(1)`]);
}

function output(command, args, stdout = 'pipe') {
  const child = spawn(command, args, { stdio: ['ignore', stdout, 'inherit'] });
  let text = '';
  child.stdout?.on('data', chunk => (text += chunk));
  return new Promise((fulfil, reject) => {
    child.on('error', reject);
    child.on('close', code => (code === 0 ? fulfil(text) : reject(new Error(`${command} ended with ${code}.`))));
  });
}
