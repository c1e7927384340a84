/**
 * Writes a Llama checkpoint in Hugging Face's layout as a GGUF file, for engines that read nothing else:
 *   node scripts/to-gguf.mjs MODEL FILE [f16|f32]
 * The layout is that of the GGUF specification, version 3 (ggml/docs/gguf.md); names of tensors and keys are llama.cpp's.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ALIGNMENT = 32;
const TYPE = { u32: 4, f32: 6, bool: 7, string: 8, array: 9, i32: 5 };
const GGML = { f32: 0, f16: 1 };

/** The bytes of a GGUF file of the checkpoint in `folder`. Throws an Error for one that is no plain Llama. */
export function toGguf(folder, format = 'f16') {
  const read = name => JSON.parse(readFileSync(join(folder, name), 'utf8'));
  const config = read('config.json');
  if (config.architectures?.[0] !== 'LlamaForCausalLM' || config.rope_scaling) {
    throw new Error(
      `${folder} is a ${config.architectures?.[0]}; only LlamaForCausalLM without rope_scaling is written.`,
    );
  }
  const tensors = [...weightsOf(folder)].map(([name, tensor]) => named(name, tensor, config));
  const entries = [...modelEntries(folder, config, format), ...tokenizerEntries(read)];
  return assemble(entries, tensors, format);
}

/** F16 and F32 tensors of model.safetensors, as f32. */
function* weightsOf(folder) {
  const file = readFileSync(join(folder, 'model.safetensors'));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes));
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [from, to] = offsets;
    const bytes = file.subarray(8 + headerBytes + from, 8 + headerBytes + to);
    const aligned = new Uint8Array(bytes).buffer;
    if (dtype === 'F32') yield [name, { shape, data: new Float32Array(aligned) }];
    else if (dtype === 'F16') yield [name, { shape, data: Float32Array.from(new Uint16Array(aligned), fromHalf) }];
    else throw new Error(`${name} is ${dtype}; only F16 and F32 are written.`);
  }
}

const parts = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};
const whole = { 'model.embed_tokens': 'token_embd', 'model.norm': 'output_norm', lm_head: 'output' };

function named(name, { shape, data }, config) {
  const stem = name.replace(/\.weight$/, '');
  const layer = /^model\.layers\.(\d+)\.(.+)$/.exec(stem);
  const ours = layer === null ? whole[stem] : parts[layer[2]] && `blk.${layer[1]}.${parts[layer[2]]}`;
  if (ours === undefined) throw new Error(`${name} is no tensor of a Llama.`);
  const heads = { attn_q: config.num_attention_heads, attn_k: config.num_key_value_heads }[ours.split('.')[2]];
  return { name: `${ours}.weight`, shape, data: heads === undefined ? data : interleaved(data, shape, heads) };
}

/** llama.cpp rotates neighbouring columns of a head, Hugging Face the two halves: rows (half, i) become (i, half). */
function interleaved(data, [rows, columns], heads) {
  const result = new Float32Array(data.length);
  const size = rows / heads;
  for (let row = 0; row < rows; row++) {
    const [head, at] = [Math.floor(row / size), row % size];
    const from = head * size + (at % 2) * (size / 2) + Math.floor(at / 2);
    result.set(data.subarray(from * columns, (from + 1) * columns), row * columns);
  }
  return result;
}

function modelEntries(folder, config, format) {
  const headDim = config.head_dim ?? config.hidden_size / config.num_attention_heads;
  return [
    ['general.architecture', 'string', 'llama'],
    ['general.name', 'string', basename(folder)],
    ['general.file_type', 'u32', format === 'f16' ? 1 : 0],
    ['llama.context_length', 'u32', config.max_position_embeddings],
    ['llama.embedding_length', 'u32', config.hidden_size],
    ['llama.block_count', 'u32', config.num_hidden_layers],
    ['llama.feed_forward_length', 'u32', config.intermediate_size],
    ['llama.attention.head_count', 'u32', config.num_attention_heads],
    ['llama.attention.head_count_kv', 'u32', config.num_key_value_heads],
    ['llama.attention.layer_norm_rms_epsilon', 'f32', config.rms_norm_eps],
    ['llama.rope.dimension_count', 'u32', headDim],
    ['llama.rope.freq_base', 'f32', config.rope_theta],
    ['llama.vocab_size', 'u32', config.vocab_size],
  ];
}

/** Byte-level BPE whose digits stand alone, as SmolLM's: what tiny-llama has. */
function tokenizerEntries(read) {
  const { model, added_tokens: added, pre_tokenizer: pre } = read('tokenizer.json');
  const kinds = (pre?.pretokenizers ?? [pre]).map(each => each?.type).join(', ');
  if (model.type !== 'BPE' || kinds !== 'Digits, ByteLevel') {
    throw new Error(`The tokenizer is ${model.type} after ${kinds}; only BPE after Digits and ByteLevel is written.`);
  }
  const tokens = [];
  for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token;
  const types = tokens.map(() => 1);
  for (const { id, content } of added) [tokens[id], types[id]] = [content, 3];
  const { bos_token_id: bos, eos_token_id: eos, pad_token_id: pad } = read('config.json');
  const template = read('tokenizer_config.json').chat_template;
  return [
    ['tokenizer.ggml.model', 'string', 'gpt2'],
    ['tokenizer.ggml.pre', 'string', 'smollm'],
    ['tokenizer.ggml.tokens', 'array', ['string', tokens]],
    ['tokenizer.ggml.token_type', 'array', ['i32', types]],
    [
      'tokenizer.ggml.merges',
      'array',
      ['string', model.merges.map(pair => (Array.isArray(pair) ? pair.join(' ') : pair))],
    ],
    ['tokenizer.ggml.bos_token_id', 'u32', bos],
    ['tokenizer.ggml.eos_token_id', 'u32', eos],
    ['tokenizer.ggml.padding_token_id', 'u32', pad ?? eos],
    ['tokenizer.ggml.add_bos_token', 'bool', false],
    ...(template === undefined ? [] : [['tokenizer.chat_template', 'string', template]]),
  ];
}

function assemble(entries, tensors, format) {
  const head = [Buffer.from('GGUF'), u32(3), u64(tensors.length), u64(entries.length)];
  for (const [key, type, value] of entries) head.push(text(key), u32(TYPE[type]), encode(type, value));
  const bodies = [];
  let offset = 0;
  for (const { name, shape, data } of tensors) {
    // Norms stay in f32.
    const type = shape.length === 1 ? 'f32' : format;
    const body = padded(type === 'f32' ? Buffer.from(data.buffer) : Buffer.from(Uint16Array.from(data, toHalf).buffer));
    head.push(text(name), u32(shape.length), ...shape.toReversed().map(u64), u32(GGML[type]), u64(offset));
    bodies.push(body);
    offset += body.length;
  }
  return Buffer.concat([padded(Buffer.concat(head)), ...bodies]);
}

function encode(type, value) {
  if (type === 'string') return text(value);
  if (type === 'bool') return Buffer.from([value ? 1 : 0]);
  if (type === 'array') {
    const [each, values] = value;
    return Buffer.concat([u32(TYPE[each]), u64(values.length), ...values.map(item => encode(each, item))]);
  }
  const bytes = Buffer.alloc(4);
  if (type === 'f32') bytes.writeFloatLE(value);
  else bytes.writeInt32LE(value);
  return bytes;
}

function text(value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function padded(bytes) {
  return Buffer.concat([bytes, Buffer.alloc((ALIGNMENT - (bytes.length % ALIGNMENT)) % ALIGNMENT)]);
}

function fromHalf(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** Rounds to even. */
function toHalf(value) {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (!(size < 65520)) return sign | (Number.isNaN(value) ? 0x7e00 : 0x7c00);
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 2 ** -24)));
  const scaled = size / 2 ** (exponent - 10);
  const low = Math.floor(scaled);
  const rest = scaled - low;
  const rounded = low + (rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? 1 : 0);
  // A carry into the exponent is what it must be.
  return sign | (rounded + (exponent === -14 ? 0 : (exponent + 14) * 1024));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, file, format = 'f16'] = process.argv.slice(2);
  if (file === undefined || !(format in GGML)) {
    process.stderr.write('Usage: node scripts/to-gguf.mjs MODEL FILE [f16|f32]\n');
    process.exitCode = 2;
  } else writeFileSync(file, toGguf(folder, format));
}
