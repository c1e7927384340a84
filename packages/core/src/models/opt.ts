import { type Architecture, layerNormWeights, projection, single } from './architecture.ts';
import type { ModelConfig, OptConfig } from './config.ts';
import type { ModelWeight } from './model-weights.ts';

/** OPTForCausalLM (Zhang et al. 2022): LayerNorm before or after each part, learned positions, biases, ReLU. */
export const opt: Architecture = {
  name: 'OPTForCausalLM',
  style: config => ({
    norm: 'layerNorm',
    norms: optOf(config).doLayerNormBefore ? 'input' : 'sum',
    gatedMlp: false,
    finalNorm: optOf(config).finalLayerNorm,
    positionOffset: optOf(config).positionOffset,
  }),
  weights: optWeights,
  prefixes: ['model.decoder.', 'decoder.', ''],
  ignores: (name, config) =>
    /(^|\.)decoder\.version$/.test(name) || (config.tieWordEmbeddings && name === 'lm_head.weight'),
};

function optOf(config: ModelConfig): OptConfig {
  return config.opt!;
}

function optWeights(config: ModelConfig): ModelWeight[] {
  const { hiddenSize, vocabSize, tieWordEmbeddings } = config;
  const { wordEmbedProjDim, positionOffset, finalLayerNorm } = optOf(config);
  const tableShape = [vocabSize, wordEmbedProjDim];
  const table = { name: 'embed_tokens.weight', shape: tableShape, split: 'vocabulary' } as const;
  const positions = {
    name: 'embed_positions.weight',
    shape: [config.maxPositionEmbeddings + positionOffset, hiddenSize],
  };
  const weights = [
    single('embed.weight', table, tieWordEmbeddings ? ['embed', 'linear'] : ['embed']),
    single('positions.weight', positions, ['embed']),
  ];
  if (wordEmbedProjDim !== hiddenSize) weights.push(...embeddingProjection('projectIn', 'project_in', config));
  for (let layer = 0; layer < config.numLayers; layer++) weights.push(...layerWeights(config, layer));
  if (finalLayerNorm) weights.push(...norm('finalNorm', 'final_layer_norm', config));
  if (wordEmbedProjDim !== hiddenSize) weights.push(...embeddingProjection('projectOut', 'project_out', config));
  if (!tieWordEmbeddings) weights.push(single('head.weight', { ...table, name: 'lm_head.weight' }, ['linear']));
  return weights;
}

function embeddingProjection(name: 'projectIn' | 'projectOut', source: string, config: ModelConfig): ModelWeight[] {
  const { wordEmbedProjDim } = optOf(config);
  const [rows, columns] =
    name === 'projectIn' ? [config.hiddenSize, wordEmbedProjDim] : [wordEmbedProjDim, config.hiddenSize];
  return projection({ name, from: [{ name: source, rows }], columns, bias: false });
}

function layerWeights(config: ModelConfig, layer: number): ModelWeight[] {
  const { hiddenSize, intermediateSize, attentionBias, attentionOutBias, mlpBias } = config;
  const to = `layers.${layer}`;
  const attention = `${to}.self_attn`;
  return [
    ...norm(`${to}.attentionNorm`, `${to}.self_attn_layer_norm`, config),
    ...projection({
      name: `${to}.qkv`,
      from: [
        { name: `${attention}.q_proj`, rows: hiddenSize, split: 'queryHeads' },
        { name: `${attention}.k_proj`, rows: hiddenSize, split: 'kvHeads' },
        { name: `${attention}.v_proj`, rows: hiddenSize, split: 'kvHeads' },
      ],
      columns: hiddenSize,
      bias: attentionBias,
    }),
    ...projection({
      name: `${to}.attentionOut`,
      from: [{ name: `${attention}.out_proj`, rows: hiddenSize }],
      columns: hiddenSize,
      columnSplit: 'queryHeads',
      bias: attentionOutBias,
    }),
    ...norm(`${to}.mlpNorm`, `${to}.final_layer_norm`, config),
    ...projection({
      name: `${to}.mlpUp`,
      from: [{ name: `${to}.fc1`, rows: intermediateSize, split: 'intermediate' }],
      columns: hiddenSize,
      bias: mlpBias,
    }),
    ...projection({
      name: `${to}.mlpDown`,
      from: [{ name: `${to}.fc2`, rows: hiddenSize }],
      columns: intermediateSize,
      columnSplit: 'intermediate',
      bias: mlpBias,
    }),
  ];
}

function norm(name: string, source: string, config: ModelConfig): ModelWeight[] {
  return layerNormWeights(name, source, config.hiddenSize, optOf(config).layerNormAffine);
}
