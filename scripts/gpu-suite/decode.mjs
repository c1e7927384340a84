/**
 * Tokens per second of models of real shapes with stand-in weights: decode.mjs SECONDS MODEL[:BATCH,BATCH...]... where MODEL is a
 * folder of test/bench/models. A JSON line per measurement, with the share of what reading 16-bit weights and cache alone takes.
 * ENGINE may hold more engine options as JSON.
 */
import { readFileSync } from 'node:fs';
import { LLM, openDevice } from '@quire/server';
import { decode, ids, print, round, run } from './speed.mjs';

const [seconds, ...specs] = process.argv.slice(2);
const deadline = performance.now() + Number(seconds) * 1000;
const bytesPerSecond = 4.3e12;
const engine = JSON.parse(process.env.ENGINE ?? '{}');
const { batchInvariant = false } = engine;
const device = await openDevice(process.env.QUIRE_DEVICE ?? 'cuda', { batchInvariant });

for (const spec of specs) {
  const [name, batches = '1,16,64'] = spec.split(':');
  await measure(name, batches.split(',').map(Number));
}
await device.dispose();
process.exit(0);

async function measure(name, batches) {
  const folder = `test/bench/models/${name}`;
  const config = JSON.parse(readFileSync(`${folder}/config.json`, 'utf8'));
  const start = performance.now();
  const llm = new LLM({
    model: folder,
    loadFormat: 'dummy',
    device,
    maxModelLen: 2048,
    maxNumSeqs: Math.max(...batches),
    enablePrefixCaching: false,
    ...engine,
  });
  const { asyncLLM, runner } = await llm.load();
  print({
    model: name,
    engine,
    what: 'load',
    seconds: round((performance.now() - start) / 1000),
    allocatedGB: round(device.allocatedBytes() / 1e9),
  });
  const vocab = asyncLLM.limits.vocabSize;
  for (const params of [{ temperature: 0 }, { temperature: 0.8, topP: 0.95 }]) {
    for (const batch of batches) {
      if (performance.now() > deadline) break;
      // The first run compiles graphs and fills the pool of pinned memory.
      await decode(asyncLLM, batch, 24, vocab, params);
      const tokens = batch === 1 ? 192 : 96;
      const { rate, stepMs } = await decode(asyncLLM, batch, tokens, vocab, params);
      const bytes = weightBytes(config) + batch * (32 + tokens / 2) * kvBytes(config);
      const limitMs = (bytes / bytesPerSecond) * 1000;
      print({
        model: name,
        engine,
        what: 'decode',
        params,
        batch,
        tokensPerSecond: round(rate),
        stepMs: round(stepMs),
        limitMs: round(limitMs),
        share: round(limitMs / stepMs),
      });
    }
  }
  for (const prompt of [512, 2000]) {
    if (performance.now() > deadline) break;
    const times = [];
    for (let i = 0; i < 4; i++) times.push((await run(asyncLLM, ids(prompt, vocab), 1, { temperature: 0 })).ttft);
    const ms = Math.min(...times.slice(1));
    const flops = 2 * (weightBytes(config) / 2) * prompt;
    print({
      model: name,
      what: 'prefill',
      prompt,
      ms: round(ms),
      tokensPerSecond: round((prompt * 1000) / ms),
      share: round(flops / 790e12 / (ms / 1000)),
    });
  }
  print({
    model: name,
    what: 'graphs',
    graphs: (await device.graphs()).map(({ name: plan, batch, kernels, copies, sets }) => [
      plan,
      batch,
      kernels,
      copies,
      sets,
    ]),
  });
  for (const executable of runner.executables.values()) {
    if (!executable.program.name.includes('model')) continue;
    const sizes = {
      tokens: 1,
      sequences: 1,
      decodeSequences: 1,
      samples: 1,
      blocksPerSequence: executable.program.maxSizes.blocksPerSequence,
      maxQueryTokens: 1,
      deltaSegments: 0,
    };
    const byOp = {};
    const timings = await executable.profile(sizes);
    for (const { op, microseconds } of timings) byOp[op] = round((byOp[op] ?? 0) + microseconds);
    print({ model: name, what: 'profile of one decode row, op by op', program: executable.program.name, byOp });
  }
  await llm.dispose();
}

/** 16-bit weights that a decode step reads: all but the embedding table where the head is its own. */
function weightBytes(c) {
  const headDim = c.head_dim ?? c.hidden_size / c.num_attention_heads;
  const kvHeads = c.num_key_value_heads ?? c.num_attention_heads;
  const attention = c.hidden_size * headDim * (2 * c.num_attention_heads + 2 * kvHeads);
  const mlp = c.model_type === 'opt' ? 2 * c.hidden_size * c.ffn_dim : 3 * c.hidden_size * c.intermediate_size;
  return 2 * (c.num_hidden_layers * (attention + mlp) + c.vocab_size * c.hidden_size);
}

function kvBytes(c) {
  const headDim = c.head_dim ?? c.hidden_size / c.num_attention_heads;
  return 4 * c.num_hidden_layers * (c.num_key_value_heads ?? c.num_attention_heads) * headDim;
}
