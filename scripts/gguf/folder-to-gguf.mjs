/** Makes a GGUF file of a model folder of Hugging Face with one safetensors file: Llama, Mixtral, Qwen2, Qwen3, Phi-3 and Gemma, byte-level BPE. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  fromBfloat16,
  fromHalf,
  quantizeQ4_0,
  quantizeQ4_K,
  quantizeQ6_K,
  quantizeQ8_0,
  toHalf,
  writeGguf,
} from './write-gguf.mjs';

const architectures = {
  LlamaForCausalLM: 'llama',
  Qwen2ForCausalLM: 'qwen2',
  Qwen3ForCausalLM: 'qwen3',
  GemmaForCausalLM: 'gemma',
  Gemma2ForCausalLM: 'gemma2',
  MixtralForCausalLM: 'llama',
  Qwen3MoeForCausalLM: 'qwen3moe',
  Phi3ForCausalLM: 'phi3',
};

const parts = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'self_attn.qkv_proj': 'attn_qkv',
  'mlp.gate_up_proj': 'ffn_up',
  'mlp.gate': 'ffn_gate_inp',
  'block_sparse_moe.gate': 'ffn_gate_inp',
};
const expertParts = { w1: 'gate', w2: 'down', w3: 'up', gate_proj: 'gate', up_proj: 'up', down_proj: 'down' };
const gemma2Parts = {
  ...parts,
  post_attention_layernorm: 'post_attention_norm',
  pre_feedforward_layernorm: 'ffn_norm',
  post_feedforward_layernorm: 'post_ffw_norm',
};

/** How matrices are stored; vectors and routers are F32 always. Rows that are not whole blocks stay F16. */
const encoders = {
  F32: values => values,
  F16: values => Uint16Array.from(values, toHalf),
  BF16: values =>
    Uint16Array.from(new Uint32Array(values.buffer, values.byteOffset, values.length), bits => bits >>> 16),
  Q4_0: quantizeQ4_0,
  Q8_0: quantizeQ8_0,
  Q4_K: quantizeQ4_K,
  Q6_K: quantizeQ6_K,
};
const blockElements = { Q4_0: 32, Q8_0: 32, Q4_K: 256, Q6_K: 256 };

/** The bytes of the file. `pre`: how llama.cpp is to cut text into words; by the `name` it knows some tokenizers. */
export function folderToGguf(folder, type = 'F16', pre = 'smollm', name = folder.split('/').at(-1)) {
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const architecture = architectures[config.architectures[0]];
  if (architecture === undefined)
    throw new Error(`${config.architectures[0]} is not written, only ${Object.keys(architectures).join(', ')}.`);
  const weights = joinExperts(readTensors(join(folder, 'model.safetensors')));
  const tensors = [...weights.map(tensor => place(tensor, config, architecture, type)), ...ropeFactors(config)];
  return writeGguf({ ...modelKeys(config, architecture, name), ...tokenizerKeys(folder, config, pre) }, tensors);
}

function modelKeys(config, architecture, name) {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads = heads, hidden_size: hidden } = config;
  const headDim = config.head_dim ?? hidden / heads;
  const own = {
    block_count: ['u32', config.num_hidden_layers],
    context_length: ['u32', config.max_position_embeddings],
    embedding_length: ['u32', hidden],
    feed_forward_length: ['u32', config.intermediate_size],
    vocab_size: ['u32', config.vocab_size],
    'attention.head_count': ['u32', heads],
    'attention.head_count_kv': ['u32', kvHeads],
    'attention.key_length': ['u32', headDim],
    'attention.value_length': ['u32', headDim],
    'attention.layer_norm_rms_epsilon': ['f32', config.rms_norm_eps],
    'rope.dimension_count': ['u32', headDim],
    'rope.freq_base': ['f32', config.rope_theta],
    ...(architecture === 'gemma2' && {
      'attention.sliding_window': ['u32', config.sliding_window],
      attn_logit_softcapping: ['f32', config.attn_logit_softcapping],
      final_logit_softcapping: ['f32', config.final_logit_softcapping],
    }),
    ...expertKeys(config),
    ...(architecture === 'phi3' && phi3Keys(config, headDim)),
  };
  return {
    'general.architecture': ['string', architecture],
    'general.name': ['string', name],
    ...Object.fromEntries(Object.entries(own).map(([key, value]) => [`${architecture}.${key}`, value])),
  };
}

function expertKeys(config) {
  const count = config.num_local_experts ?? config.num_experts;
  if (count === undefined) return {};
  return {
    expert_count: ['u32', count],
    expert_used_count: ['u32', config.num_experts_per_tok],
    ...(config.moe_intermediate_size && { expert_feed_forward_length: ['u32', config.moe_intermediate_size] }),
  };
}

function phi3Keys(config, headDim) {
  const { original_max_position_embeddings: original, max_position_embeddings: longest } = config;
  const scaling = config.rope_scaling && {
    'rope.scaling.original_context_length': ['u32', original],
    'rope.scaling.attn_factor': ['f32', Math.sqrt(1 + Math.log(longest / original) / Math.log(original))],
  };
  return {
    'rope.dimension_count': ['u32', Math.floor(headDim * (config.partial_rotary_factor ?? 1))],
    'attention.sliding_window': ['u32', config.sliding_window ?? 0],
    ...scaling,
  };
}

/** LongRoPE's factors are tensors. */
function ropeFactors({ rope_scaling: scaling }) {
  return ['short', 'long']
    .filter(length => scaling?.[`${length}_factor`] !== undefined)
    .map(length => {
      const data = Float32Array.from(scaling[`${length}_factor`]);
      return { name: `rope_factors_${length}.weight`, shape: [data.length], type: 'F32', data };
    });
}

/** The matrices of all experts of a layer, one below the other in one tensor. */
function joinExperts(tensors) {
  const joined = new Map();
  for (const tensor of tensors) {
    const [, layer, id, part] = /^layers\.(\d+)\..+\.experts\.(\d+)\.(\w+)\.weight$/.exec(tensor.name) ?? [];
    const name = id === undefined ? tensor.name : `blk.${layer}.ffn_${expertParts[part]}_exps.weight`;
    const whole = joined.get(name) ?? [];
    whole[Number(id ?? 0)] = tensor;
    joined.set(name, whole);
  }
  return [...joined].map(([name, whole]) => {
    const [{ shape, values }] = whole;
    if (!name.startsWith('blk.')) return { name, shape, values };
    return {
      name,
      shape: [whole.length, ...shape],
      values: Float32Array.from(whole.flatMap(each => [...each.values])),
    };
  });
}

/** A vocabulary of bytes where the folder has no tokenizer, which llama.cpp cannot do without. */
function tokenizerKeys(folder, config, pre) {
  const tokenizer = readJson(join(folder, 'tokenizer.json')) ?? { model: { vocab: {}, merges: [] }, added_tokens: [] };
  const settings = readJson(join(folder, 'tokenizer_config.json')) ?? {};
  const tokens = Array.from({ length: config.vocab_size }, (_, id) => `[PAD${id}]`);
  const types = tokens.map(() => 5);
  for (const [token, id] of Object.entries(tokenizer.model.vocab)) [tokens[id], types[id]] = [token, 1];
  for (const { content, id, special } of tokenizer.added_tokens) [tokens[id], types[id]] = [content, special ? 3 : 4];
  const idOf = content => (content === null || content === undefined ? -1 : tokens.indexOf(content.content ?? content));
  const ids = { bos: idOf(settings.bos_token), eos: idOf(settings.eos_token), padding: idOf(settings.pad_token) };
  return {
    'tokenizer.ggml.model': ['string', 'gpt2'],
    'tokenizer.ggml.pre': ['string', pre],
    'tokenizer.ggml.tokens': [['string'], tokens],
    'tokenizer.ggml.token_type': [['i32'], types],
    'tokenizer.ggml.merges': [
      ['string'],
      tokenizer.model.merges.map(merge => (Array.isArray(merge) ? merge.join(' ') : merge)),
    ],
    ...Object.fromEntries(
      Object.entries(ids)
        .filter(([, id]) => id >= 0)
        .map(([name, id]) => [`tokenizer.ggml.${name}_token_id`, ['u32', id]]),
    ),
    'tokenizer.ggml.add_bos_token': ['bool', settings.add_bos_token ?? false],
    'tokenizer.ggml.add_eos_token': ['bool', false],
    ...(settings.chat_template && { 'tokenizer.chat_template': ['string', settings.chat_template] }),
  };
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Name, shape and f32 values of every tensor. */
function readTensors(file) {
  const bytes = readFileSync(file);
  const dataStart = 8 + Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(bytes.toString('utf8', 8, dataStart));
  return Object.entries(header).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [start, end],
      },
    ]) => {
      const raw = new Uint8Array(bytes.subarray(dataStart + start, dataStart + end)).buffer;
      const decode = { F16: fromHalf, BF16: fromBfloat16 }[dtype];
      const values = dtype === 'F32' ? new Float32Array(raw) : Float32Array.from(new Uint16Array(raw), decode);
      return { name: name.replace(/^model\./, ''), shape, values };
    },
  );
}

function place({ name, shape, values }, config, architecture, type) {
  const own = nameOf(name, architecture);
  const ordered = architecture === 'llama' ? turnNeighbours(own, shape, values, config) : values;
  const added =
    architecture.startsWith('gemma') && own.endsWith('norm.weight') ? ordered.map(value => 1 + value) : ordered;
  const fits = shape.at(-1) % (blockElements[type] ?? 1) === 0;
  const isSmall = shape.length === 1 || own.includes('ffn_gate_inp');
  const stored = isSmall ? 'F32' : fits ? type : 'F16';
  return { name: own, shape, type: stored, data: encoders[stored](added) };
}

function nameOf(name, architecture) {
  const whole = {
    'embed_tokens.weight': 'token_embd.weight',
    'norm.weight': 'output_norm.weight',
    'lm_head.weight': 'output.weight',
  }[name];
  if (whole !== undefined) return whole;
  if (name.startsWith('blk.')) return name;
  const [, layer, part, kind] = /^layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name);
  return `blk.${layer}.${(architecture === 'gemma2' ? gemma2Parts : parts)[part]}.${kind}`;
}

/** llama.cpp turns neighbours of a Llama's heads, where Hugging Face turns halves: rows i and i + half become 2 i and 2 i + 1. */
function turnNeighbours(name, [rows], values, config) {
  if (!/\.attn_[qk]\./.test(name)) return values;
  const heads = name.includes('attn_q') ? config.num_attention_heads : config.num_key_value_heads;
  const [headRows, width] = [rows / heads, values.length / rows];
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const within = row % headRows;
    const to = row - within + 2 * (within % (headRows / 2)) + Math.floor((2 * within) / headRows);
    out.set(values.subarray(row * width, (row + 1) * width), to * width);
  }
  return out;
}
