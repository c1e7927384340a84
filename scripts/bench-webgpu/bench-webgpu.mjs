/**
 * npm run bench:webgpu [-- --part matmul,attention,decode --json]: the WGSL kernels beside others on the same adapter, in one run.
 *
 * matmul: f32 and 4-bit weights of 2048x2048 at 1, 8 and 128 rows, beside onnxruntime-node's WebGPU provider. attention: paged, beside the
 * textbook formula in plain WGSL. decode: tiny-llama and a Llama of 30 million f16 weights at 1 and 16 sequences, beside llama.cpp's Vulkan
 * backend (and, for orientation, its processor). The others are installed from the npm registry into the user's cache on the first run. The
 * adapter is the one that the Vulkan loader finds (VK_ICD_FILENAMES), else the bundled one in software.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { benchReport } from '../../packages/server/dist/bench/report.js';
import { installSoftwareAdapter } from '../../packages/server/dist/node/software-adapter.js';
import { writeLlama } from '../bench-load/checkpoint.mjs';
import { folderToGguf } from '../gguf/folder-to-gguf.mjs';
import { installPeers, output } from './peers.mjs';

const SIZE = 2048;
const ROWS = [1, 8, 128];
const BATCHES = [1, 16];
/** 31.6 million weights. */
const LLAMA_30M = {
  hidden_size: 512,
  intermediate_size: 1408,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  vocab_size: 12_288,
};

const root = resolve(import.meta.dirname, '../..');
const options = parseArgs({
  options: {
    part: { type: 'string', default: 'matmul,attention,decode' },
    json: { type: 'boolean', default: false },
  },
}).values;
installSoftwareAdapter();
const peers = await installPeers();
const scripts = { matmul, attention, decode };
const rows = [];
let adapter = '';
for (const part of options.part.split(',')) await scripts[part]();
const report = await benchReport(adapter, rows);
console.log(options.json ? JSON.stringify(report) : `${report.machine}; ${report.device}; ${report.commit}`);

/** Printed as soon as it is measured: a peer may take longer than anybody waits. */
function add(row) {
  rows.push(row);
  if (!options.json) console.log(`${row.name.padEnd(44)} ${line(row)}`);
}

function line({ value, unit, limit, share, note }) {
  if (note !== undefined) return note;
  return `${value} ${unit}${limit === null ? '' : `; ${limit}, ${share} times as fast`}`;
}

/** Times of ours beside theirs; of processor time too, which says more where other work shares the processor that the adapter runs on. */
function compareTimes(name, ours, theirs) {
  compare(name, 'ms', ours.ms, theirs.ms);
  compare(`${name}, processor time`, 'ms', ours.processor, theirs.processor);
}

/** A row of ours beside theirs; `limit` is theirs, `share` how many times as fast ours is. */
function compare(name, unit, ours, theirs) {
  const faster = unit === 'ms' ? theirs / ours : ours / theirs;
  add({ name, value: round(ours), unit, limit: round(theirs), share: round(faster) });
}

function round(value) {
  return Number(value.toPrecision(3));
}

async function run(script, ...args) {
  return JSON.parse(await output(process.execPath, [join(import.meta.dirname, script), ...args.map(String)]));
}

/** What a peer measured, or undefined with a row that says why there is nothing. */
async function runPeer(name, script, ...args) {
  try {
    return await run(script, peers, ...args);
  } catch (error) {
    add({ name, value: null, unit: '', limit: null, share: null, note: `not measured: ${error.message}` });
    return undefined;
  }
}

async function matmul() {
  const ours = await run('quire-matmul.mjs', SIZE, ROWS);
  adapter = ours.name;
  const { f32 } = ours.times;
  for (const kind of ['ms', 'processor']) {
    // Milliseconds of processor time are of one core.
    const note = kind === 'ms' ? '' : ' of a core';
    const rate = (name, unit, amount, time) =>
      add({ name, value: round(amount / 1e6 / time[kind]), unit: `${unit}${note}`, limit: null });
    rate('f32, 1 row', 'GB/s', 4 * SIZE ** 2, f32[1]);
    rate('f32, 128 rows', 'GFLOP/s', 256 * SIZE ** 2, f32[128]);
  }
  const theirs = await runPeer('onnxruntime-node', 'ort-matmul.mjs', SIZE, ROWS);
  for (const [weights, times] of Object.entries(theirs?.times ?? {})) {
    const own = ours.times[weights.split(',')[0]];
    for (const count of ROWS) compareTimes(`onnxruntime, ${weights}, ${count} rows`, own[count], times[count]);
  }
}

async function attention() {
  const { name, times } = await run('attention.mjs');
  adapter = name;
  for (const [scene, { quire, textbook }] of Object.entries(times)) compareTimes(`textbook, ${scene}`, quire, textbook);
}

async function decode() {
  for (const [name, folder] of [
    ['tiny-llama', join(root, 'models/tiny-llama')],
    ['30M', await llama30M()],
  ]) {
    const file = join(root, '.cache/bench-webgpu', `${name}.gguf`);
    if (!existsSync(file)) writeFileSync(file, folderToGguf(folder, 'F16'));
    const ours = await run('quire-decode.mjs', folder);
    adapter = ours.name;
    for (const kind of ['vulkan', 'cpu']) {
      const theirs = await runPeer(`llama.cpp ${kind}, ${name}`, 'llama-decode.mjs', file, kind);
      for (const batch of theirs === undefined ? [] : BATCHES) {
        compare(`llama.cpp ${kind}, ${name}, batch ${batch}`, 'tokens/s', ours.rates[batch], theirs.rates[batch]);
      }
    }
  }
}

async function llama30M() {
  const folder = join(root, '.cache/bench-webgpu/30M');
  mkdirSync(folder, { recursive: true });
  if (!existsSync(join(folder, 'config.json'))) await writeLlama(folder, 65e6, LLAMA_30M);
  return folder;
}
