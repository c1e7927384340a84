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
  /** The norm in front of the MLP; in most behind attention, which is why it has that name. */
  readonly mlpNorm: 'post_attention_layernorm' | 'pre_feedforward_layernorm';
}

const plain = { turnsNeighbours: false, addsOne: false, mlpNorm: 'post_attention_layernorm' } as const;
const gemmaNorms = { turnsNeighbours: false, addsOne: true, mlpNorm: 'pre_feedforward_layernorm' } as const;

/** By `general.architecture`. */
export const ggufArchitectures: Readonly<Record<string, GgufArchitecture>> = {
  llama: { ...plain, turnsNeighbours: true, config: llama },
  qwen2: { ...plain, config: () => ({ architectures: ['Qwen2ForCausalLM'] }) },
  qwen3: { ...plain, config: () => ({ architectures: ['Qwen3ForCausalLM'] }) },
  gemma: { ...plain, addsOne: true, config: () => ({ ...gemma, architectures: ['GemmaForCausalLM'] }) },
  gemma2: { ...gemmaNorms, config: gemma2 },
  gemma3: { ...gemmaNorms, config: gemma3 },
};

/** Llama and Mistral, and as a mixture of experts Mixtral. */
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
    rope_scaling: ropeScaling(metadata, header),
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
  const experts = metadata.has(metadata.own('expert_count')) && metadata.size(metadata.own('expert_count')) > 0;
  if (Object.hasOwn(ggufArchitectures, architecture) && !experts) return ggufArchitectures[architecture]!;
  if (experts)
    throw metadata.bad(
      metadata.own('expert_count'),
      '0: mixtures of experts are read from safetensors only',
      'GG_ARCH',
    );
  throw metadata.bad('general.architecture', `one of ${Object.keys(ggufArchitectures).join(', ')}`, 'GG_ARCH');
}

/** Llama 3.1's scaling lies in the file as a factor for each pair, in a tensor that the checkpoint does not show. */
function ropeScaling(metadata: GgufMetadata, { tensors }: GgufHeader): Config | null {
  if (tensors.has('rope_freqs.weight')) return null;
  const type = metadata.string(metadata.own('rope.scaling.type'), 'none');
  if (type === 'none') return null;
  const factor = metadata.number(metadata.own('rope.scaling.factor'), 1);
  if (type === 'linear') return { type, factor };
  if (type === 'yarn') {
    const original = metadata.size(metadata.own('rope.scaling.original_context_length'));
    return { type, factor, original_max_position_embeddings: original };
  }
  throw metadata.bad(metadata.own('rope.scaling.type'), 'none, linear or yarn');
}

/** The scaling that the factors of `rope_freqs.weight` stand for: the same ones at every length. */
export function factorScaling(factors: readonly number[], maxPositions: number): Config {
  return {
    type: 'longrope',
    short_factor: factors,
    long_factor: factors,
    original_max_position_embeddings: maxPositions,
    attention_factor: 1,
  };
}
