/** Runs the same requests on one engine after the other, and tells the seconds from the first request to the last answer. */
import { Wllama } from '@wllama/wllama';
import wllamaWasm from '@wllama/wllama/esm/wasm/wllama.wasm?url';

/** What an engine does with so many requests at once, after one that is not counted. */
async function measure(count, maxTokens, generate) {
  const prompts = Array.from({ length: count }, (_, i) => `Once upon a time there were ${i + 2} ducks`);
  await generate('Once upon a time', 8);
  const start = performance.now();
  const tokens = await Promise.all(prompts.map(prompt => generate(prompt, maxTokens)));
  const seconds = (performance.now() - start) / 1000;
  return { tokens: tokens.reduce((sum, each) => sum + each, 0), seconds };
}

window.benchQuire = async ({ device, counts, maxTokens }) => {
  const worker = new Worker(new URL('./quire-worker.mjs', import.meta.url), { type: 'module' });
  const waiting = new Map();
  let next = 0;
  worker.onmessage = ({ data }) => {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error === undefined) resolve(data.result);
    else reject(new Error(data.error));
  };
  worker.onerror = event => {
    for (const { reject } of waiting.values()) reject(new Error(event.message));
  };
  const call = message =>
    new Promise((resolve, reject) => {
      waiting.set(next, { resolve, reject });
      worker.postMessage({ id: next++, ...message });
    });
  const name = await call({ kind: 'open', device });
  const runs = [];
  for (const count of counts) {
    runs.push(await measure(count, maxTokens, (prompt, most) => call({ kind: 'generate', prompt, maxTokens: most })));
  }
  worker.terminate();
  return { name, runs };
};

window.benchWllama = async ({ gpu, counts, maxTokens, threads }) => {
  const runs = [];
  let name = '';
  for (const count of counts) {
    const wllama = new Wllama({ default: wllamaWasm }, { suppressNativeLog: true });
    const model = await (await fetch('/tiny-llama.gguf')).blob();
    const options = { n_ctx: 256 * count, n_parallel: count, n_threads: threads, cont_batching: true };
    await wllama.loadModel([model], { ...options, n_gpu_layers: gpu ? 99 : 0 });
    const generate = async (prompt, most) => {
      const { usage } = await wllama.createCompletion({ prompt, max_tokens: most, temperature: 0, ignore_eos: true });
      return usage.completion_tokens;
    };
    runs.push(await measure(count, maxTokens, generate));
    name = `llama.cpp ${Wllama.getLibllamaVersion()}, ${wllama.isMultithread() ? `${wllama.getNumThreads()} threads` : 'one thread'}`;
    await wllama.exit();
  }
  return { name, runs };
};

/** The greedy text of a prompt, to see that both engines have the same weights. */
window.textOfWllama = async prompt => {
  const wllama = new Wllama({ default: wllamaWasm }, { suppressNativeLog: true });
  await wllama.loadModel([await (await fetch('/tiny-llama.gguf')).blob()], { n_ctx: 256, n_gpu_layers: 0 });
  const { choices } = await wllama.createCompletion({ prompt, max_tokens: 32, temperature: 0 });
  await wllama.exit();
  return choices[0].text;
};
window.isReady = true;
