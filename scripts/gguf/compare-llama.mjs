/**
 * npm run gguf:compare [-- FILE.gguf ...]: greedy tokens of GGUF files beside those of llama.cpp on the processor, token for token, on
 * the reference device. Without files: models/tiny-llama in every type that fits its width. node-llama-cpp is large and only needed here:
 * it is taken from where NODE_LLAMA_CPP points (a folder in which it was installed with `npm i node-llama-cpp`).
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { LLM } from '../../packages/server/dist/index.js';
import { folderToGguf } from './folder-to-gguf.mjs';

const root = resolve(import.meta.dirname, '../..');
const TOKENS = 32;
const installed = process.env.NODE_LLAMA_CPP;
if (installed === undefined) {
  console.error('Set NODE_LLAMA_CPP to a folder in which node-llama-cpp is installed.');
  process.exit(2);
}
const { getLlama } = await import(
  pathToFileURL(createRequire(join(resolve(installed), 'x.js')).resolve('node-llama-cpp'))
);
const prompts = JSON.parse(readFileSync(join(root, 'models/tiny-llama/golden.json'), 'utf8'))
  .cases.slice(0, 6)
  .map(({ prompt }) => prompt);

const scratch = mkdtempSync(join(tmpdir(), 'quire-gguf-'));
try {
  const files = process.argv.length > 2 ? process.argv.slice(2) : ownFiles();
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
  let wrong = 0;
  for (const file of files) wrong += await compare(llama, file);
  await llama.dispose();
  process.exitCode = wrong > 0 ? 1 : 0;
} finally {
  rmSync(scratch, { recursive: true });
}

function ownFiles() {
  return ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0'].map(type => {
    const file = join(scratch, `tiny-llama-${type}.gguf`);
    writeFileSync(file, folderToGguf(join(root, 'models/tiny-llama'), type));
    return file;
  });
}

/** Prints a line, and returns how many prompts differ in their tokens or in what is generated. */
async function compare(llama, file) {
  const theirs = await generateTheirs(llama, file);
  const ours = await generateOurs(file, theirs);
  let [encoded, same, agreeing, total] = [0, 0, 0, 0];
  for (const [i, { promptIds, ids }] of theirs.entries()) {
    const own = ours[i];
    if (String(own.promptIds) === String(promptIds)) encoded++;
    const first = ids.findIndex((id, at) => id !== own.ids[at]);
    if (first < 0) same++;
    agreeing += first < 0 ? ids.length : first;
    total += ids.length;
  }
  const name = file.split('/').at(-1);
  console.log(
    `${name}: prompts tokenised alike ${encoded} of ${theirs.length}; outputs alike ${same} of ${theirs.length} (${agreeing} of ${total} tokens up to the first that differs)`,
  );
  return theirs.length - same;
}

/** Its model computes with the file's weights, but rounds activations to 8 bits where these are quantised. */
async function generateTheirs(llama, file) {
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  const context = await model.createContext({ contextSize: 512, sequences: 1, flashAttention: false });
  const sequence = context.getSequence();
  const outputs = [];
  for (const prompt of prompts) {
    const promptIds = [...model.tokenize(prompt)];
    const ids = [];
    await sequence.clearHistory();
    for await (const token of sequence.evaluate(promptIds, { temperature: 0, yieldEogToken: true })) {
      ids.push(token);
      if (ids.length === TOKENS || model.isEogToken(token)) break;
    }
    outputs.push({ promptIds, ids });
  }
  await context.dispose();
  await model.dispose();
  return outputs;
}

async function generateOurs(file, theirs) {
  const llm = new LLM({ model: file, device: 'reference', numGpuBlocksOverride: 200 });
  const tokenizer = await llm.tokenizer();
  const params = theirs.map(({ ids }) => ({ temperature: 0, maxTokens: ids.length, ignoreEos: true }));
  const outputs = await llm.generate(
    theirs.map(({ promptIds }) => promptIds),
    params,
  );
  await llm.dispose();
  return outputs.map(({ outputs: [output] }, i) => ({ promptIds: tokenizer.encode(prompts[i]), ids: output.tokenIds }));
}
