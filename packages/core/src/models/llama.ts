import { type Architecture, type ProjectionSource, projection, single, stackedSlices } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight } from './model-weights.ts';

/** Where the checkpoints of an architecture on Llama's decoder have the fused projections of a layer. */
export interface LayerSources {
  qkv(layer: string, rows: QkvRows): ProjectionSource[];
  gateUp(layer: string, rows: number): ProjectionSource[];
  /** The MLP of a layer, where it is not gateUp and `down_proj`. */
  mlp?(layer: string, config: ModelConfig): ModelWeight[];
}
type QkvRows = readonly [query: number, key: number, value: number];

export const separate: LayerSources = {
  qkv: (layer, [query, key, value]) => [
    { name: `${layer}.self_attn.q_proj`, rows: query, split: 'queryHeads' },
    { name: `${layer}.self_attn.k_proj`, rows: key, split: 'kvHeads' },
    { name: `${layer}.self_attn.v_proj`, rows: value, split: 'kvHeads' },
  ],
  gateUp: (layer, rows) => [
    { name: `${layer}.mlp.gate_proj`, rows, split: 'intermediate' },
    { name: `${layer}.mlp.up_proj`, rows, split: 'intermediate' },
  ],
};

const fused: LayerSources = {
  qkv: (layer, [query, key, value]) =>
    stackedSlices(`${layer}.self_attn.qkv_proj`, [
      { rows: query, split: 'queryHeads' },
      { rows: key, split: 'kvHeads' },
      { rows: value, split: 'kvHeads' },
    ]),
  gateUp: (layer, rows) =>
    stackedSlices(`${layer}.mlp.gate_up_proj`, [
      { rows, split: 'intermediate' },
      { rows, split: 'intermediate' },
    ]),
};

/** LlamaForCausalLM: RMSNorm before attention and a gated MLP, rotary positions, grouped-query attention. */
export const llama: Architecture = {
  name: 'LlamaForCausalLM',
  style: () => ({ norm: 'rmsNorm', norms: 'input', gatedMlp: true, finalNorm: true, positionOffset: null }),
  weights: config => gatedDecoderWeights(config, separate),
  prefixes: ['model.', ''],
  ignores: (name, config) =>
    /(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$/.test(name) ||
    (config.tieWordEmbeddings && name === 'lm_head.weight'),
};

/** MistralForCausalLM: Llama's decoder, whose layers may see a window only. */
export const mistral: Architecture = { ...llama, name: 'MistralForCausalLM' };

/** SmolLM3ForCausalLM: Llama's decoder, some of whose layers have no positions. */
export const smolLm3: Architecture = { ...llama, name: 'SmolLM3ForCausalLM' };

/** Olmo2ForCausalLM: Llama's decoder, normalised behind attention and MLP, with norms over all queries and all keys. */
export const olmo2: Architecture = {
  ...llama,
  name: 'Olmo2ForCausalLM',
  style: config => ({ ...llama.style(config), norms: 'output' }),
  weights: config =>
    gatedDecoderWeights(config, separate, {
      attentionOutNorm: 'post_attention_layernorm',
      mlpOutNorm: 'post_feedforward_layernorm',
    }),
};

/** Phi3ForCausalLM, of Phi-3 and Phi-4: Llama's decoder, saved with fused projections. */
export const phi3: Architecture = {
  ...llama,
  name: 'Phi3ForCausalLM',
  weights: config => gatedDecoderWeights(config, fused),
};

/** Names of the norms of a layer, as the decoder and as the checkpoint call them. */
export type LayerNorms = Readonly<Record<string, string>>;

const inputNorms: LayerNorms = { attentionNorm: 'input_layernorm', mlpNorm: 'post_attention_layernorm' };

export function gatedDecoderWeights(config: ModelConfig, sources: LayerSources, norms = inputNorms): ModelWeight[] {
  const { hiddenSize, vocabSize, tieWordEmbeddings } = config;
  const tableShape = [vocabSize, hiddenSize];
  const table = { name: 'embed_tokens.weight', shape: tableShape, split: 'vocabulary' } as const;
  const weights = [single('embed.weight', table, tieWordEmbeddings ? ['embed', 'linear'] : ['embed'])];
  for (let layer = 0; layer < config.numLayers; layer++) weights.push(...layerWeights(config, layer, sources, norms));
  weights.push(norm('finalNorm', 'norm', config));
  if (!tieWordEmbeddings) weights.push(single('head.weight', { ...table, name: 'lm_head.weight' }, ['linear']));
  return weights;
}

function layerWeights(config: ModelConfig, layer: number, sources: LayerSources, norms: LayerNorms): ModelWeight[] {
  const { hiddenSize, attentionBias, attentionOutBias } = config;
  const queryRows = config.numHeads * config.headDim;
  const keyRows = config.numKvHeads * config.headDim;
  const to = `layers.${layer}`;
  const normsOf = (part: 'attention' | 'mlp') =>
    Object.entries(norms)
      .filter(([name]) => name.startsWith(part))
      .map(([name, source]) => norm(`${to}.${name}`, `${to}.${source}`, config));
  return [
    ...normsOf('attention'),
    ...projection({
      name: `${to}.qkv`,
      from: sources.qkv(to, [queryRows, keyRows, keyRows]),
      columns: hiddenSize,
      bias: attentionBias,
    }),
    ...queryKeyNorms(to, config),
    ...projection({
      name: `${to}.attentionOut`,
      from: [{ name: `${to}.self_attn.o_proj`, rows: hiddenSize }],
      columns: queryRows,
      columnSplit: 'queryHeads',
      bias: attentionOutBias,
    }),
    ...normsOf('mlp'),
    ...(sources.mlp?.(to, config) ?? mlpWeights(config, to, sources)),
  ];
}

function mlpWeights({ hiddenSize, intermediateSize, mlpBias }: ModelConfig, to: string, sources: LayerSources) {
  return [
    ...projection({
      name: `${to}.mlpUp`,
      from: sources.gateUp(to, intermediateSize),
      columns: hiddenSize,
      bias: mlpBias,
      ops: ['linear', 'gatedLinear'],
    }),
    ...projection({
      name: `${to}.mlpDown`,
      from: [{ name: `${to}.mlp.down_proj`, rows: hiddenSize }],
      columns: intermediateSize,
      columnSplit: 'intermediate',
      bias: mlpBias,
    }),
  ];
}

function norm(name: string, source: string, config: ModelConfig): ModelWeight {
  const weight = single(`${name}.weight`, { name: `${source}.weight`, shape: [config.hiddenSize] }, ['rmsNorm']);
  return addOne(weight, config);
}

function addOne(weight: ModelWeight, { normsAddOne }: ModelConfig): ModelWeight {
  return normsAddOne ? { ...weight, addOne: true } : weight;
}

/**
 * One scale for all query heads of a layer, and one for its key heads, or one for every element of all heads. The two share a
 * dtype: one op may read both.
 */
function queryKeyNorms(to: string, config: ModelConfig): ModelWeight[] {
  const { qkNorm, headDim, numHeads, numKvHeads } = config;
  if (qkNorm === 'none') return [];
  const [query, key] = (['q', 'k'] as const).map(kind => {
    const heads = qkNorm === 'heads' ? 1 : kind === 'q' ? numHeads : numKvHeads;
    const source = { name: `${to}.self_attn.${kind}_norm.weight`, shape: [heads * headDim] };
    const op = qkNorm === 'heads' ? 'ropeKvWrite' : 'normColumns';
    return addOne(single(`${to}.${kind}Norm.weight`, source, [op]), config);
  }) as [ModelWeight, ModelWeight];
  return [query, { ...key, follows: query.name }];
}
