import { type Architecture, type ProjectionSource, projection, single, stackedSlices } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight } from './model-weights.ts';

/** Where the checkpoints of an architecture on Llama's decoder have the fused projections of a layer. */
interface LayerSources {
  qkv(layer: string, rows: QkvRows): ProjectionSource[];
  gateUp(layer: string, rows: number): ProjectionSource[];
}
type QkvRows = readonly [query: number, key: number, value: number];

const separate: LayerSources = {
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

/** Phi3ForCausalLM, of Phi-3 and Phi-4: Llama's decoder, saved with fused projections. */
export const phi3: Architecture = {
  ...llama,
  name: 'Phi3ForCausalLM',
  weights: config => gatedDecoderWeights(config, fused),
};

function gatedDecoderWeights(config: ModelConfig, sources: LayerSources): ModelWeight[] {
  const { hiddenSize, vocabSize, tieWordEmbeddings } = config;
  const tableShape = [vocabSize, hiddenSize];
  const table = { name: 'embed_tokens.weight', shape: tableShape, split: 'vocabulary' } as const;
  const weights = [single('embed.weight', table, tieWordEmbeddings ? ['embed', 'linear'] : ['embed'])];
  for (let layer = 0; layer < config.numLayers; layer++) weights.push(...layerWeights(config, layer, sources));
  weights.push(norm('finalNorm', 'norm', config));
  if (!tieWordEmbeddings) weights.push(single('head.weight', { ...table, name: 'lm_head.weight' }, ['linear']));
  return weights;
}

function layerWeights(config: ModelConfig, layer: number, sources: LayerSources): ModelWeight[] {
  const { hiddenSize, intermediateSize, attentionBias, attentionOutBias, mlpBias } = config;
  const queryRows = config.numHeads * config.headDim;
  const keyRows = config.numKvHeads * config.headDim;
  const to = `layers.${layer}`;
  return [
    norm(`${to}.attentionNorm`, `${to}.input_layernorm`, config),
    ...projection({
      name: `${to}.qkv`,
      from: sources.qkv(to, [queryRows, keyRows, keyRows]),
      columns: hiddenSize,
      bias: attentionBias,
    }),
    ...(config.qkNorm ? headNorms(to, config) : []),
    ...projection({
      name: `${to}.attentionOut`,
      from: [{ name: `${to}.self_attn.o_proj`, rows: hiddenSize }],
      columns: queryRows,
      columnSplit: 'queryHeads',
      bias: attentionOutBias,
    }),
    norm(`${to}.mlpNorm`, `${to}.post_attention_layernorm`, config),
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
  return single(`${name}.weight`, { name: `${source}.weight`, shape: [config.hiddenSize] }, ['rmsNorm']);
}

/** One scale for all query heads of a layer, and one for its key heads. One op reads both, so they share a dtype. */
function headNorms(to: string, { headDim }: ModelConfig): ModelWeight[] {
  const [query, key] = ['q', 'k'].map(kind => {
    const source = { name: `${to}.self_attn.${kind}_norm.weight`, shape: [headDim] };
    return single(`${to}.${kind}Norm.weight`, source, ['ropeKvWrite']);
  }) as [ModelWeight, ModelWeight];
  return [query, { ...key, follows: query.name }];
}
