/**
 * The 256-sequence benchmark: throughput.mjs WORKLOAD MODEL... with stand-in weights of test/bench/models, T 0.6. Output tokens per
 * second from the first submit to the last token. ENGINE may hold more engine options as JSON.
 */
import { readFileSync } from 'node:fs';
import { LLM, openDevice } from '@quire/server';

const [file, ...models] = process.argv.slice(2);
const workload = JSON.parse(readFileSync(file, 'utf8'));
const device = await openDevice(process.env.QUIRE_DEVICE ?? 'cuda');
for (const model of models) {
  const options = JSON.parse(process.env.ENGINE ?? '{}');
  const llm = new LLM({
    model: `test/bench/models/${model}`,
    loadFormat: 'dummy',
    device,
    maxModelLen: 2048,
    maxNumSeqs: 256,
    ...options,
  });
  const { asyncLLM } = await llm.load();
  const { vocabSize } = asyncLLM.limits;
  const params = ({ maxTokens }, i) => ({ temperature: 0.6, seed: i, maxTokens, ignoreEos: true, detokenize: false });
  // Graphs of all batch sizes are captured before the clock starts.
  await llm.generate(
    workload.map((_, i) => ({ promptTokenIds: [i % vocabSize, 1, 2] })),
    workload.map((_, i) => ({
      temperature: 0.6,
      seed: i,
      maxTokens: 2 + (i % 40),
      ignoreEos: true,
      detokenize: false,
    })),
  );
  const start = performance.now();
  const outputs = await llm.generate(
    workload.map(({ promptTokenIds }) => ({ promptTokenIds: promptTokenIds.map(id => id % vocabSize) })),
    workload.map(params),
  );
  const seconds = (performance.now() - start) / 1000;
  const tokens = outputs.reduce((sum, { outputs: [output] }) => sum + output.tokenIds.length, 0);
  console.log(
    JSON.stringify({
      model,
      what: '256 sequences',
      tokens,
      seconds: Number(seconds.toFixed(2)),
      tokensPerSecond: Math.round(tokens / seconds),
    }),
  );
  await llm.dispose();
}
await device.dispose();
process.exit(0);
