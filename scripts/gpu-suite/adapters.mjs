/**
 * What adapters cost in decode: adapters.mjs SECONDS MODEL[:BATCH,BATCH...]..., where MODEL is a gated model of test/bench/models. As
 * many adapters as requests, up to eight, of rank 16 in all projections, with weights made up; beside the same requests without.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LLM, openDevice } from '@quire/server';
import { decode, print, round } from './speed.mjs';

const RANK = 16;
const MOST_ADAPTERS = 8;
const [seconds, ...specs] = process.argv.slice(2);
const deadline = performance.now() + Number(seconds) * 1000;
const tokens = Number(process.env.TOKENS ?? 96);
const device = await openDevice(process.env.QUIRE_DEVICE ?? 'cuda');
for (const spec of specs) {
  const [name, batches = '1,16,64'] = spec.split(':');
  await measure(name, batches.split(',').map(Number));
}
await device.dispose();
process.exit(0);

async function measure(name, batches) {
  const folder = `test/bench/models/${name}`;
  const adapters = mkdtempSync(join(tmpdir(), 'quire-adapters-'));
  writeAdapter(adapters, JSON.parse(readFileSync(`${folder}/config.json`, 'utf8')));
  const llm = new LLM({
    model: folder,
    loadFormat: 'dummy',
    device,
    maxModelLen: 512,
    maxNumSeqs: Math.max(...batches),
    enableLora: true,
    maxLoras: MOST_ADAPTERS,
    maxLoraRank: RANK,
  });
  const { asyncLLM } = await llm.load();
  const count = Math.min(MOST_ADAPTERS, Math.max(...batches));
  for (let i = 0; i < count; i++) await llm.addLora({ loraName: `a${i}`, loraPath: adapters });
  for (const batch of batches) {
    for (const used of [0, Math.min(batch, count)]) {
      if (performance.now() > deadline) break;
      const optionsOf = i => (used === 0 ? {} : { loraRequest: { loraName: `a${i % used}` } });
      const vocab = asyncLLM.limits.vocabSize;
      // The first run captures graphs.
      await decode(asyncLLM, batch, Math.min(tokens, 24), vocab, { temperature: 0 }, optionsOf);
      const { rate, stepMs } = await decode(asyncLLM, batch, tokens, vocab, { temperature: 0 }, optionsOf);
      print({ model: name, what: 'adapters', used, batch, tokensPerSecond: round(rate), stepMs: round(stepMs) });
    }
  }
  await llm.dispose();
  rmSync(adapters, { recursive: true });
}

/** As PEFT saves it, in f16. */
function writeAdapter(folder, c) {
  const headDim = c.head_dim ?? c.hidden_size / c.num_attention_heads;
  const [queries, keys] = [c.num_attention_heads * headDim, (c.num_key_value_heads ?? c.num_attention_heads) * headDim];
  const modules = {
    'self_attn.q_proj': [c.hidden_size, queries],
    'self_attn.k_proj': [c.hidden_size, keys],
    'self_attn.v_proj': [c.hidden_size, keys],
    'self_attn.o_proj': [queries, c.hidden_size],
    'mlp.gate_proj': [c.hidden_size, c.intermediate_size],
    'mlp.up_proj': [c.hidden_size, c.intermediate_size],
    'mlp.down_proj': [c.intermediate_size, c.hidden_size],
  };
  const header = {};
  let length = 0;
  const add = (name, shape) => {
    const end = length + 2 * shape[0] * shape[1];
    header[name] = { dtype: 'F16', shape, data_offsets: [length, end] };
    length = end;
  };
  for (let layer = 0; layer < c.num_hidden_layers; layer++) {
    for (const [module, [depth, columns]] of Object.entries(modules)) {
      const path = `base_model.model.model.layers.${layer}.${module}`;
      add(`${path}.lora_A.weight`, [RANK, depth]);
      add(`${path}.lora_B.weight`, [columns, RANK]);
    }
  }
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  // 2^-10 everywhere: finite, and not nothing.
  const values = Buffer.alloc(length);
  for (let i = 1; i < length; i += 2) values[i] = 0x14;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'adapter_model.safetensors'), Buffer.concat([size, text, values]));
  const settings = {
    peft_type: 'LORA',
    r: RANK,
    lora_alpha: RANK,
    target_modules: Object.keys(modules).map(module => module.split('.')[1]),
    bias: 'none',
  };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(settings));
}
