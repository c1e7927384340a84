import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeFloats } from '../../packages/core/dist/program/index.js';

const defaults = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 1024,
  intermediate_size: 2816,
  num_attention_heads: 16,
  num_key_value_heads: 4,
  head_dim: 64,
  vocab_size: 24_000,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: 2,
  torch_dtype: 'float16',
};
/** Random numbers that are drawn: every tensor begins elsewhere in them. */
const PERIOD = 4_194_301;

/** Writes a Llama of random f16 weights, with as many layers as fit into `bytes`. `fields` are others of its config.json. */
export async function writeLlama(folder, bytes, fields = {}) {
  await mkdir(folder, { recursive: true });
  const config = { ...defaults, ...fields };
  const [first, second] = [shapesOf(0, config), shapesOf(1, config)].map(sizeOf);
  const layers = Math.max(Math.floor((bytes - first) / (second - first)), 1);
  // In the order, and with the padding, of Hugging Face's library.
  const shapes = Object.entries(shapesOf(layers, config)).sort(([a], [b]) => (a < b ? -1 : 1));
  const header = {};
  let at = 0;
  for (const [name, shape] of shapes) {
    const end = at + 2 * elements(shape);
    header[name] = { dtype: 'F16', shape, data_offsets: [at, end] };
    at = end;
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json.padEnd(8 * Math.ceil(json.length / 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const path = join(folder, 'model.safetensors');
  const stream = createWriteStream(`${path}.part`);
  const write = async chunk => stream.write(chunk) || once(stream, 'drain');
  await write(Buffer.concat([length, text]));
  const random = Buffer.from(encodeFloats('f16', uniform(PERIOD)).buffer);
  const ones = Buffer.from(encodeFloats('f16', new Float32Array(config.hidden_size).fill(1)).buffer);
  let place = 0;
  for (const [, shape] of shapes) {
    let left = 2 * elements(shape);
    if (shape.length === 1) {
      await write(ones);
      continue;
    }
    for (; left > 0; place = (place + 1_000_003) % PERIOD) {
      const chunk = random.subarray(2 * place, 2 * place + left);
      await write(chunk);
      left -= chunk.length;
    }
  }
  stream.end();
  await once(stream, 'close');
  await writeFile(join(folder, 'config.json'), JSON.stringify({ ...config, num_hidden_layers: layers }));
  await rename(`${path}.part`, path);
}

function shapesOf(layers, config) {
  const {
    hidden_size: hidden,
    intermediate_size: mlp,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
  } = config;
  const shapes = { 'model.embed_tokens.weight': [config.vocab_size, hidden] };
  for (let i = 0; i < layers; i++) {
    const layer = `model.layers.${i}`;
    shapes[`${layer}.input_layernorm.weight`] = [hidden];
    shapes[`${layer}.self_attn.q_proj.weight`] = [heads * config.head_dim, hidden];
    shapes[`${layer}.self_attn.k_proj.weight`] = [kvHeads * config.head_dim, hidden];
    shapes[`${layer}.self_attn.v_proj.weight`] = [kvHeads * config.head_dim, hidden];
    shapes[`${layer}.self_attn.o_proj.weight`] = [hidden, heads * config.head_dim];
    shapes[`${layer}.post_attention_layernorm.weight`] = [hidden];
    shapes[`${layer}.mlp.gate_proj.weight`] = [mlp, hidden];
    shapes[`${layer}.mlp.up_proj.weight`] = [mlp, hidden];
    shapes[`${layer}.mlp.down_proj.weight`] = [hidden, mlp];
  }
  return { ...shapes, 'model.norm.weight': [hidden] };
}

function sizeOf(shapes) {
  return Object.values(shapes).reduce((sum, shape) => sum + 2 * elements(shape), 0);
}

function elements(shape) {
  return shape.reduce((product, size) => product * size, 1);
}

/** Numbers in [-0.03, 0.03): xorshift32 (Marsaglia 2003). */
function uniform(count) {
  let state = 1;
  return Float32Array.from({ length: count }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (0.03 * state) / 2 ** 31;
  });
}
