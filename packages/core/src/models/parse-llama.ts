import type { ModelConfig } from './config.ts';
import type { ConfigFields } from './config-fields.ts';
import {
  activations,
  checkDivides,
  MAX_POSITIONS,
  MAX_SIZE,
  type NoticeListener,
  parseCommon,
  parseEps,
  parseWindows,
  plainDecoder,
} from './parse-common.ts';
import { parseRope, type RopeDefaults } from './parse-rope.ts';

/** Published models have a few hundred at most. */
const MAX_EXPERTS = 4096;

export function parseLlama(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  if (fields.boolean('use_sliding_window', false))
    throw fields.bad('use_sliding_window', 'false: full attention', 'CF_UNSUPPORTED');
  if (fields.has('sliding_window') && fields.get('use_sliding_window') !== false)
    throw fields.bad('sliding_window', 'null: full attention', 'CF_UNSUPPORTED');
  return {
    ...parseGatedDecoder(fields, onNotice, { maxPositions: 2048 }),
    architecture: 'LlamaForCausalLM',
    mlpBias: fields.boolean('mlp_bias', false),
  };
}

export function parseMistral(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 131_072, numKvHeads: 8 });
  const layers = parseWindows(fields, decoder.numLayers, () => fields.has('sliding_window'));
  return { ...decoder, architecture: 'MistralForCausalLM', attentionBias: false, attentionOutBias: false, layers };
}

/** Which projections have biases is fixed: the class does not read attention_bias. */
export function parseQwen2(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 32_768, numKvHeads: 32 });
  const layers = parseQwenWindows(fields, decoder.numLayers);
  return { ...decoder, architecture: 'Qwen2ForCausalLM', attentionBias: true, attentionOutBias: false, layers };
}

export function parseQwen3(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 32_768, numKvHeads: 32, headDim: 128 });
  const layers = parseQwenWindows(fields, decoder.numLayers);
  return { ...decoder, architecture: 'Qwen3ForCausalLM', qkNorm: 'heads', layers };
}

/** The first `max_window_layers` layers see everything, whatever the name says. */
function parseQwenWindows(fields: ConfigFields, numLayers: number) {
  const slides = fields.has('sliding_window') && fields.boolean('use_sliding_window', false);
  const firstLayer = fields.integer('max_window_layers', 0, MAX_SIZE, 28);
  return parseWindows(fields, numLayers, layer => slides && layer >= firstLayer);
}

export function parseMixtral(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 131_072, numKvHeads: 8, eps: 1e-5 });
  const layers = parseWindows(fields, decoder.numLayers, () => fields.has('sliding_window'));
  const experts = { ...parseExperts(fields, 'num_local_experts', 8, 2), normalize: true };
  const plain = { attentionBias: false, attentionOutBias: false } as const;
  return { ...decoder, ...plain, architecture: 'MixtralForCausalLM', layers, experts };
}

/** Every layer is a mixture: layers with an MLP among them are refused. */
export function parseQwen3Moe(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 32_768, numKvHeads: 4 });
  const layers = parseQwenWindows(fields, decoder.numLayers);
  if (fields.integer('decoder_sparse_step', 0, MAX_SIZE, 1) !== 1) {
    throw fields.bad('decoder_sparse_step', '1: every layer a mixture of experts', 'CF_UNSUPPORTED');
  }
  const dense = fields.get('mlp_only_layers') ?? [];
  if (!Array.isArray(dense) || dense.length > 0) {
    throw fields.bad('mlp_only_layers', 'an empty list: every layer a mixture of experts', 'CF_UNSUPPORTED');
  }
  return {
    ...decoder,
    architecture: 'Qwen3MoeForCausalLM',
    qkNorm: 'heads',
    layers,
    intermediateSize: fields.integer('moe_intermediate_size', 1, MAX_SIZE, 768),
    experts: {
      ...parseExperts(fields, 'num_experts', 128, 8),
      normalize: fields.boolean('norm_topk_prob', false),
    },
  };
}

function parseExperts(fields: ConfigFields, name: string, usualCount: number, usualChosen: number) {
  const count = fields.integer(name, 1, MAX_EXPERTS, usualCount);
  return { count, perToken: fields.integer('num_experts_per_tok', 1, count, usualChosen) };
}

export function parsePhi3(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 4096 });
  const layers = parseWindows(fields, decoder.numLayers, () => fields.has('sliding_window'));
  return { ...decoder, architecture: 'Phi3ForCausalLM', attentionBias: false, attentionOutBias: false, layers };
}

/** Of every few layers one has no positions (Yang et al. 2025). */
export function parseSmolLm3(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 32_768, numKvHeads: 4, rope: { theta: 2e6 } });
  const { numLayers } = decoder;
  const interval = fields.integer('no_rope_layer_interval', 1, MAX_SIZE, 4);
  const flags = fields.has('no_rope_layers')
    ? fields.floats('no_rope_layers', numLayers, flag => flag === 0 || flag === 1, '0 or 1')
    : Array.from({ length: numLayers }, (_, layer) => Number((layer + 1) % interval !== 0));
  const slides = fields.has('sliding_window') && fields.boolean('use_sliding_window', false);
  const windows = parseWindows(fields, numLayers, layer => slides && flags[layer] === 0);
  const layers = flags.map((flag, layer) => ({
    window: windows?.[layer]?.window ?? 0,
    positions: flag === 1 ? ('global' as const) : ('none' as const),
  }));
  return {
    ...decoder,
    architecture: 'SmolLM3ForCausalLM',
    mlpBias: fields.boolean('mlp_bias', false),
    layers,
  };
}

export function parseOlmo2(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 2048, eps: 1e-5 });
  return { ...decoder, architecture: 'Olmo2ForCausalLM', qkNorm: 'all' };
}

/** Defaults of an architecture on Llama's decoder. */
export interface DecoderDefaults {
  readonly maxPositions: number;
  /** Absent: as many as heads. */
  readonly numKvHeads?: number;
  /** Absent: hidden size / heads. */
  readonly headDim?: number;
  readonly rope?: RopeDefaults;
  /** Absent: 1e-6. */
  readonly eps?: number;
  /** Default of tie_word_embeddings. Absent: false. */
  readonly tied?: boolean;
}

export function parseGatedDecoder(fields: ConfigFields, onNotice: NoticeListener, defaults: DecoderDefaults) {
  const common = parseCommon(fields, onNotice, defaults.tied ?? false);
  const { hiddenSize, numHeads } = common;
  const numKvHeads = fields.integer('num_key_value_heads', 1, numHeads, defaults.numKvHeads ?? numHeads);
  if (numHeads % numKvHeads !== 0)
    throw fields.bad('num_key_value_heads', `a divisor of num_attention_heads, ${numHeads}`);
  if (!fields.has('head_dim') && defaults.headDim === undefined) checkDivides(fields, hiddenSize, numHeads);
  const headDim = fields.integer('head_dim', 1, 4096, defaults.headDim ?? Math.floor(hiddenSize / numHeads));
  const maxPositionEmbeddings = fields.integer('max_position_embeddings', 1, MAX_POSITIONS, defaults.maxPositions);
  const attentionBias = fields.boolean('attention_bias', false);
  return {
    ...common,
    ...plainDecoder,
    intermediateSize: fields.integer('intermediate_size', 1, MAX_SIZE),
    numKvHeads,
    headDim,
    maxPositionEmbeddings,
    normEps: parseEps(fields, 'rms_norm_eps', defaults.eps ?? 1e-6),
    activation: fields.choice('hidden_act', activations, 'silu'),
    attentionBias,
    attentionOutBias: attentionBias,
    mlpBias: false,
    rope: parseRope(fields, headDim, maxPositionEmbeddings, defaults.rope),
  };
}
