import { type Architecture, projection, single } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight } from './model-weights.ts';

/** LlamaForCausalLM: RMSNorm before attention and a gated MLP, rotary positions, grouped-query attention. */
export const llama: Architecture = {
  name: 'LlamaForCausalLM',
  style: () => ({ norm: 'rmsNorm', preNorm: true, gatedMlp: true, finalNorm: true, positionOffset: null }),
  weights: llamaWeights,
  prefixes: ['model.', ''],
  ignores: (name, config) =>
    /(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$/.test(name) ||
    (config.tieWordEmbeddings && name === 'lm_head.weight'),
};

function llamaWeights(config: ModelConfig): ModelWeight[] {
  const { hiddenSize, vocabSize, tieWordEmbeddings } = config;
  const tableShape = [vocabSize, hiddenSize];
  const table = { name: 'embed_tokens.weight', shape: tableShape, split: 'vocabulary' } as const;
  const weights = [single('embed.weight', table, tieWordEmbeddings ? ['embed', 'linear'] : ['embed'])];
  for (let layer = 0; layer < config.numLayers; layer++) weights.push(...layerWeights(config, layer));
  weights.push(norm('finalNorm', 'norm', config));
  if (!tieWordEmbeddings) weights.push(single('head.weight', { ...table, name: 'lm_head.weight' }, ['linear']));
  return weights;
}

function layerWeights(config: ModelConfig, layer: number): ModelWeight[] {
  const { hiddenSize, intermediateSize, attentionBias, attentionOutBias, mlpBias } = config;
  const queryRows = config.numHeads * config.headDim;
  const keyRows = config.numKvHeads * config.headDim;
  const to = `layers.${layer}`;
  const attention = `${to}.self_attn`;
  const mlp = `${to}.mlp`;
  return [
    norm(`${to}.attentionNorm`, `${to}.input_layernorm`, config),
    ...projection({
      name: `${to}.qkv`,
      from: [
        { name: `${attention}.q_proj`, rows: queryRows, split: 'queryHeads' },
        { name: `${attention}.k_proj`, rows: keyRows, split: 'kvHeads' },
        { name: `${attention}.v_proj`, rows: keyRows, split: 'kvHeads' },
      ],
      columns: hiddenSize,
      bias: attentionBias,
    }),
    ...(config.qkNorm ? headNorms(to, config) : []),
    ...projection({
      name: `${to}.attentionOut`,
      from: [{ name: `${attention}.o_proj`, rows: hiddenSize }],
      columns: queryRows,
      columnSplit: 'queryHeads',
      bias: attentionOutBias,
    }),
    norm(`${to}.mlpNorm`, `${to}.post_attention_layernorm`, config),
    ...projection({
      name: `${to}.mlpUp`,
      from: [
        { name: `${mlp}.gate_proj`, rows: intermediateSize, split: 'intermediate' },
        { name: `${mlp}.up_proj`, rows: intermediateSize, split: 'intermediate' },
      ],
      columns: hiddenSize,
      bias: mlpBias,
      ops: ['linear', 'gatedLinear'],
    }),
    ...projection({
      name: `${to}.mlpDown`,
      from: [{ name: `${mlp}.down_proj`, rows: hiddenSize }],
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
