/**
 * npm run gguf:compare [-- FILE.gguf ...]: greedy tokens of GGUF files beside those of llama.cpp on the processor, token for token, on
 * the reference device (tensors whose rows are no whole blocks of a type are F16). llama.cpp rounds activations to 8 bits where weights are quantised, so tokens of such files may part where the
 * best two log-probabilities are close; of files of floats they may not. The fixtures of other architectures have no
 * tokenizer, and are given ids. Without files: models/tiny-llama in every type that fits its width. node-llama-cpp is large and only needed here:
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
/** Nats between the best two, within which a rounding of activations may exchange them. */
const NARROW = 0.05;
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
  const files = process.argv.length > 2 ? process.argv.slice(2).map(file => ({ file, prompts })) : ownFiles();
  const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
  let wrong = 0;
  for (const { file, prompts } of files) wrong += await compare(llama, file, prompts);
  await llama.dispose();
  process.exitCode = wrong > 0 ? 1 : 0;
} finally {
  rmSync(scratch, { recursive: true });
}

function ownFiles() {
  const write = (name, folder, type, pre) => {
    const file = join(scratch, `${name}-${type}.gguf`);
    writeFileSync(file, folderToGguf(join(root, folder), type, pre, 'a model'));
    return file;
  };
  const types = ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_0', 'Q4_K', 'Q6_K'];
  const texts = types.map(type => ({ file: write('tiny-llama', 'models/tiny-llama', type), prompts }));
  const fixtures = ['qwen2-tied', 'qwen3-tied', 'gemma', 'gemma2', 'mixtral', 'qwen3-moe', 'phi3-short'].map(name => {
    const folder = `test/fixtures/models/${name}`;
    const { tokenIds } = JSON.parse(readFileSync(join(root, folder, 'logits.json'), 'utf8'));
    const pre = name.startsWith('qwen') ? 'qwen2' : 'gpt-2';
    return { file: write(name, folder, 'F32', pre), prompts: [tokenIds.slice(0, 20), tokenIds.slice(20, 30)] };
  });
  return [...texts, ...fixtures];
}

/** Prints a line. Returns 1 where prompts are tokenised otherwise, or outputs part without a reason. */
async function compare(llama, file, prompts) {
  const theirs = await generateTheirs(llama, file, prompts);
  const ours = await generateOurs(file, theirs, prompts);
  let [encoded, same, agreeing, total, widest] = [0, 0, 0, 0, 0];
  for (const [i, { promptIds, ids }] of theirs.entries()) {
    const own = ours[i];
    if (String(own.promptIds) === String(promptIds)) encoded++;
    const first = ids.findIndex((id, at) => id !== own.ids[at]);
    if (first < 0) same++;
    agreeing += first < 0 ? ids.length : first;
    if (first >= 0) widest = Math.max(widest, own.gaps[first]);
    total += ids.length;
  }
  const name = file.split('/').at(-1);
  console.log(
    `${name}: prompts tokenised alike ${encoded} of ${theirs.length}; outputs alike ${same} of ${theirs.length} (${agreeing} of ${total} tokens up to the first that differs${widest > 0 ? `, where the best two are at most ${widest.toFixed(3)} nats apart` : ''})`,
  );
  const mayPart = /Q\d/.test(name) && widest <= NARROW;
  return encoded < theirs.length || (same < theirs.length && !mayPart) ? 1 : 0;
}

/** Its model computes with the file's weights, but rounds activations to 8 bits where these are quantised. */
async function generateTheirs(llama, file, prompts) {
  const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 });
  const context = await model.createContext({ contextSize: 512, sequences: 1, flashAttention: false, threads: 1 });
  const sequence = context.getSequence();
  const outputs = [];
  for (const prompt of prompts) {
    const promptIds = typeof prompt === 'string' ? [...model.tokenize(prompt, true)] : prompt;
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

async function generateOurs(file, theirs, prompts) {
  const skipTokenizerInit = typeof prompts[0] !== 'string';
  const llm = new LLM({ model: file, device: 'reference', numGpuBlocksOverride: 200, skipTokenizerInit });
  const tokenizer = skipTokenizerInit ? null : await llm.tokenizer();
  const params = theirs.map(({ ids }) => ({ temperature: 0, maxTokens: ids.length, ignoreEos: true, logprobs: 2 }));
  const outputs = await llm.generate(
    theirs.map(({ promptIds }) => promptIds),
    params,
  );
  await llm.dispose();
  return outputs.map(({ outputs: [{ tokenIds, logprobs }] }, i) => ({
    promptIds: tokenizer === null ? prompts[i] : tokenizer.encode(prompts[i]),
    ids: tokenIds,
    gaps: logprobs.map(({ top: [best, second] }) => best.logprob - second.logprob),
  }));
}
