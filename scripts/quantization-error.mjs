/**
 * npm run measure:quantization [-- --texts N MODEL ...]: what formats of weights and KV cache cost, on the reference device. Teacher-forced
 * over the first N parts of a fixed text, models/measured-text.json: perplexity, and the mean Kullback-Leibler divergence of
 * the model as it is stored from the quantised one. A Llama whose columns are no multiples of 128 is measured filled up with zeros too, for the
 * formats in groups of 128. Prints the table of docs/quantization.md.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { openReferenceDevice } from '../packages/core/dist/device/reference/index.js';
import { parseModelConfig } from '../packages/core/dist/models/parse-config.js';
import { openCheckpoint } from '../packages/core/dist/weights/index.js';
import { openDebugRunner } from '../packages/core/dist/worker/index.js';
import { openFolderSource } from '../packages/server/dist/node/folder-source.js';
import { widenLlama } from './widen-llama.mjs';

const root = resolve(import.meta.dirname, '..');
const { values: options, positionals } = parseArgs({ options: { texts: { type: 'string' } }, allowPositionals: true });
const folders = positionals.length > 0 ? positionals : ['models/tiny-llama', 'models/tiny-opt'];
const { texts: all } = JSON.parse(readFileSync(join(root, 'models/measured-text.json'), 'utf8'));
const plain = { weights: 'auto', activations: 'f32', kvCache: 'f32' };
const formats = [
  ...['q8', 'q4_32', 'q4_32z', 'q4_128', 'q4_128z'].map(quantization => [quantization, { ...plain, quantization }]),
  ...['f16', 'i8', 'f8e4m3'].map(kvCache => [`KV ${kvCache}`, { ...plain, kvCache }]),
  ['q8, KV i8', { ...plain, quantization: 'q8', kvCache: 'i8' }],
  ['q4_32, KV i8', { ...plain, quantization: 'q4_32', kvCache: 'i8' }],
];

console.log('| model | format | tokens | perplexity | KL, nats per token | same best token |');
console.log('| --- | --- | --- | --- | --- | --- |');
for (const folder of folders) {
  await measure(folder, () => openFolderSource(join(root, folder)), formats);
  const config = JSON.parse(readFileSync(join(root, folder, 'config.json'), 'utf8'));
  if (config.architectures[0] !== 'LlamaForCausalLM' || config.hidden_size % 128 === 0) continue;
  const source = await openFolderSource(join(root, folder));
  const widened = await widenLlama(source).finally(() => source.close());
  const wide = formats.filter(([name]) => name.startsWith('q4_') && !name.includes('KV'));
  await measure(`${folder}, filled up`, async () => widened, wide);
}

async function measure(model, open, formats) {
  const texts = all.slice(0, Number(options.texts ?? all.length));
  const stored = await distributions(open, texts, plain);
  const tokens = texts.reduce((sum, ids) => sum + ids.length - 1, 0);
  const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);
  row(model, 'as stored', tokens, perplexity(stored, texts, tokens).toFixed(4), '', '');
  for (const [name, dtypes] of formats) {
    try {
      const found = await distributions(open, texts, dtypes);
      const { divergence, same } = compare(stored, found, texts, tokens);
      const share = `${(100 * same).toFixed(1)} %`;
      row(model, name, tokens, perplexity(found, texts, tokens).toFixed(4), divergence.toExponential(2), share);
    } catch (error) {
      if (error.name !== 'ConfigError') throw error;
      row(model, name, 'n/a: columns are not whole groups', '', '', '');
    }
  }
}

/** Log-probabilities of every position of every text, [position * vocabulary]. */
async function distributions(open, texts, dtypes) {
  const source = await open();
  const device = await openReferenceDevice();
  try {
    const modelConfig = await parseModelConfig(source);
    const checkpoint = await openCheckpoint(source);
    const maxTokens = Math.max(...texts.map(ids => ids.length));
    const runner = await openDebugRunner({ device, modelConfig, checkpoint, maxTokens, dtypes });
    const all = [];
    for (const ids of texts) all.push(logSoftmax(await runner.forwardLogits(ids), modelConfig.vocabSize));
    runner.dispose();
    return all;
  } finally {
    await device.dispose();
    await source.close();
  }
}

function logSoftmax(logits, vocabulary) {
  const result = new Float64Array(logits.length);
  for (let at = 0; at < logits.length; at += vocabulary) {
    const row = logits.subarray(at, at + vocabulary);
    const most = row.reduce((a, b) => Math.max(a, b));
    const total = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
    row.forEach((logit, i) => {
      result[at + i] = logit - most - total;
    });
  }
  return result;
}

function perplexity(all, texts, tokens) {
  let sum = 0;
  texts.forEach((ids, t) => {
    const vocabulary = all[t].length / ids.length;
    for (let i = 1; i < ids.length; i++) sum -= all[t][(i - 1) * vocabulary + ids[i]];
  });
  return Math.exp(sum / tokens);
}

function compare(stored, found, texts, tokens) {
  let [divergence, same] = [0, 0];
  texts.forEach((ids, t) => {
    const vocabulary = stored[t].length / ids.length;
    for (let i = 0; i < ids.length - 1; i++) {
      const [p, q] = [stored[t], found[t]].map(rows => rows.subarray(i * vocabulary, (i + 1) * vocabulary));
      p.forEach((logP, id) => {
        divergence += Math.exp(logP) * (logP - q[id]);
      });
      same += Number(best(p) === best(q));
    }
  });
  return { divergence: divergence / tokens, same: same / tokens };
}

function best(row) {
  return row.reduce((most, value, id) => (value > row[most] ? id : most), 0);
}
