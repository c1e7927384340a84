import type { GgufHeader } from './header.ts';
import type { GgufMetadata } from './metadata.ts';

/** A config.json of Hugging Face. */
export type Config = Readonly<Record<string, unknown>>;

/** What llama.cpp calls an architecture, as Hugging Face has it. */
export interface GgufArchitecture {
  /** Fields of config.json that differ from those of every decoder. */
  config(metadata: GgufMetadata, header: GgufHeader): Config;
  /** The weights of queries and keys lie so that neighbours are turned together, and not the halves of a head. */
  readonly turnsNeighbours: boolean;
  /** Norms are stored with the one that the model adds to them. */
  readonly addsOne: boolean;
  /** Parts of a layer by llama.cpp's name. */
  readonly parts: Readonly<Record<string, string>>;
  /** Where a mixture has its router and its experts, whose matrices the file has in one tensor for each of the three. */
  readonly experts?: ExpertParts;
}

export interface ExpertParts {
  /** The module of the mixture, in its layer. */
  readonly module: string;
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

const parts = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  // In front of the MLP; in most behind attention, which is why it has that name.
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
} as const;
const gemmaParts = {
  ...parts,
  ffn_norm: 'pre_feedforward_layernorm',
  post_attention_norm: 'post_attention_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
} as const;
/** Queries, keys and values are one matrix, gates and ups another. */
const fusedParts = { ...parts, attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj' } as const;

const plain = { turnsNeighbours: false, addsOne: false, parts } as const;
const gemmaNorms = { turnsNeighbours: false, addsOne: true, parts: gemmaParts } as const;

/** By `general.architecture`. */
export const ggufArchitectures: Readonly<Record<string, GgufArchitecture>> = {
  llama: { ...plain, turnsNeighbours: true, config: llama },
  qwen2: { ...plain, config: () => ({ architectures: ['Qwen2ForCausalLM'] }) },
  qwen3: { ...plain, config: () => ({ architectures: ['Qwen3ForCausalLM'] }) },
  gemma: { ...plain, addsOne: true, config: () => ({ ...gemma, architectures: ['GemmaForCausalLM'] }) },
  gemma2: { ...gemmaNorms, config: gemma2 },
  gemma3: { ...gemmaNorms, config: gemma3 },
  phi3: { ...plain, parts: fusedParts, config: phi3 },
  qwen3moe: {
    ...plain,
    config: qwen3Moe,
    experts: { module: 'mlp', gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
  },
};

/** What `llama` with experts is. */
const mixtral: GgufArchitecture = {
  ...plain,
  turnsNeighbours: true,
  config: metadata => ({
    ...slidingWindow(metadata),
    architectures: ['MixtralForCausalLM'],
    num_local_experts: metadata.size(metadata.own('expert_count')),
    num_experts_per_tok: metadata.size(metadata.own('expert_used_count')),
  }),
  experts: { module: 'block_sparse_moe', gate: 'w1', up: 'w3', down: 'w2' },
};

/** Llama.cpp makes the weights of the chosen experts add up to one. */
function qwen3Moe(metadata: GgufMetadata): Config {
  return {
    architectures: ['Qwen3MoeForCausalLM'],
    num_experts: metadata.size(metadata.own('expert_count')),
    num_experts_per_tok: metadata.size(metadata.own('expert_used_count')),
    moe_intermediate_size: metadata.size(metadata.own('expert_feed_forward_length')),
    norm_topk_prob: true,
  };
}

function phi3(metadata: GgufMetadata): Config {
  return { ...slidingWindow(metadata), architectures: ['Phi3ForCausalLM'] };
}

/** 0 in the file stands for none. */
function slidingWindow(metadata: GgufMetadata): Config {
  return { sliding_window: metadata.size(metadata.own('attention.sliding_window'), 0) || null };
}

/** Llama and Mistral. */
function llama(metadata: GgufMetadata, { tensors }: GgufHeader): Config {
  const bias = { attention_bias: tensors.has('blk.0.attn_q.bias'), mlp_bias: tensors.has('blk.0.ffn_up.bias') };
  const window = metadata.own('attention.sliding_window');
  if (!metadata.has(window)) return { architectures: ['LlamaForCausalLM'], ...bias };
  return { architectures: ['MistralForCausalLM'], sliding_window: metadata.size(window) };
}

const gemma = { hidden_activation: 'gelu_pytorch_tanh' } as const;

function gemma2(metadata: GgufMetadata): Config {
  const headDim = metadata.size(metadata.own('attention.key_length'));
  // The 27B scales by the width of its hidden states per head, as llama.cpp knows by its number of layers.
  const isLargest = metadata.size(metadata.own('block_count')) === 46;
  const heads = metadata.size(metadata.own('attention.head_count'));
  return {
    ...gemma,
    architectures: ['Gemma2ForCausalLM'],
    query_pre_attn_scalar: isLargest ? metadata.size(metadata.own('embedding_length')) / heads : headDim,
    sliding_window: metadata.size(metadata.own('attention.sliding_window')),
    attn_logit_softcapping: metadata.number(metadata.own('attn_logit_softcapping'), 50),
    final_logit_softcapping: metadata.number(metadata.own('final_logit_softcapping'), 30),
  };
}

function gemma3(metadata: GgufMetadata): Config {
  const headDim = metadata.size(metadata.own('attention.key_length'));
  const isLargest = metadata.size(metadata.own('block_count')) === 62;
  const heads = metadata.size(metadata.own('attention.head_count'));
  return {
    ...gemma,
    architectures: ['Gemma3ForCausalLM'],
    query_pre_attn_scalar: isLargest ? metadata.size(metadata.own('embedding_length')) / heads : headDim,
    sliding_window: metadata.size(metadata.own('attention.sliding_window')),
    sliding_window_pattern: 6,
    rope_local_base_freq: metadata.number(metadata.own('rope.freq_base_swa'), 10_000),
  };
}

/** The config.json of a file. Throws ModelFormatError GG_ARCH for another architecture, GG_VALUE for what is missing. */
export function configOf(header: GgufHeader, metadata: GgufMetadata, vocabSize: number): Config {
  const architecture = architectureOf(metadata);
  const key = (name: string) => metadata.own(name);
  const heads = metadata.size(key('attention.head_count'));
  const hidden = metadata.size(key('embedding_length'));
  const headDim = metadata.size(key('attention.key_length'), Math.floor(hidden / heads));
  const rotary = metadata.size(key('rope.dimension_count'), headDim);
  const token = (name: string) => {
    const id = `tokenizer.ggml.${name}`;
    return metadata.has(id) ? metadata.size(id) : null;
  };
  return {
    hidden_size: hidden,
    intermediate_size: metadata.size(key('feed_forward_length')),
    num_hidden_layers: metadata.size(key('block_count')),
    num_attention_heads: heads,
    num_key_value_heads: metadata.size(key('attention.head_count_kv'), heads),
    head_dim: headDim,
    vocab_size: vocabSize,
    max_position_embeddings: metadata.size(key('context_length')),
    rms_norm_eps: metadata.number(key('attention.layer_norm_rms_epsilon')),
    rope_theta: metadata.number(key('rope.freq_base'), 10_000),
    hidden_act: 'silu',
    tie_word_embeddings: !header.tensors.has('output.weight'),
    bos_token_id: token('bos_token_id'),
    eos_token_id: token('eos_token_id'),
    // Weights of few bits are exact in f32; what computes in 16 bits may round them to f16.
    torch_dtype:
      header.tensors.get('token_embd.weight')?.type === 'F32'
        ? 'float32'
        : header.tensors.get('token_embd.weight')?.type === 'BF16'
          ? 'bfloat16'
          : 'float16',
    ...(rotary === headDim ? {} : { partial_rotary_factor: rotary / headDim }),
    ...architecture.config(metadata, header),
  };
}

export function architectureOf(metadata: GgufMetadata): GgufArchitecture {
  const { architecture } = metadata;
  if (!Object.hasOwn(ggufArchitectures, architecture)) {
    throw metadata.bad('general.architecture', `one of ${Object.keys(ggufArchitectures).join(', ')}`, 'GG_ARCH');
  }
  const known = ggufArchitectures[architecture]!;
  if (metadata.size(metadata.own('expert_count'), 0) === 0) return known;
  if (architecture === 'llama') return mixtral;
  if (known.experts !== undefined) return known;
  throw metadata.bad(metadata.own('expert_count'), '0: of mixtures, those of llama and qwen3moe are read', 'GG_ARCH');
}
