import { type Architecture, layerNormWeights, projection, single, stackedSlices } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight } from './model-weights.ts';

/** GPT2LMHeadModel (Radford et al. 2019): LayerNorm, learned positions, biases, and projections saved as [inputs, outputs]. */
export const gpt2: Architecture = {
  name: 'GPT2LMHeadModel',
  style: () => ({ norm: 'layerNorm', norms: 'input', gatedMlp: false, finalNorm: true, positionOffset: 0 }),
  weights: gpt2Weights,
  prefixes: ['transformer.', ''],
  ignores: (name, config) =>
    /(^|\.)attn\.(bias|masked_bias)$/.test(name) || (config.tieWordEmbeddings && name === 'lm_head.weight'),
};

function gpt2Weights(config: ModelConfig): ModelWeight[] {
  const { hiddenSize, vocabSize, maxPositionEmbeddings, tieWordEmbeddings } = config;
  const table = { name: 'wte.weight', shape: [vocabSize, hiddenSize], split: 'vocabulary' } as const;
  const positions = { name: 'wpe.weight', shape: [maxPositionEmbeddings, hiddenSize] };
  const weights = [
    single('embed.weight', table, tieWordEmbeddings ? ['embed', 'linear'] : ['embed']),
    single('positions.weight', positions, ['embed']),
  ];
  for (let layer = 0; layer < config.numLayers; layer++) weights.push(...layerWeights(config, layer));
  weights.push(...layerNormWeights('finalNorm', 'ln_f', hiddenSize));
  if (!tieWordEmbeddings) weights.push(single('head.weight', { ...table, name: 'lm_head.weight' }, ['linear']));
  return weights;
}

function layerWeights({ hiddenSize, intermediateSize }: ModelConfig, layer: number): ModelWeight[] {
  const [to, from] = [`layers.${layer}`, `h.${layer}`];
  const transposed = true;
  const heads = { rows: hiddenSize, split: 'queryHeads' } as const;
  const kvHeads = { rows: hiddenSize, split: 'kvHeads' } as const;
  const qkv = stackedSlices(`${from}.attn.c_attn`, [heads, kvHeads, kvHeads]);
  return [
    ...layerNormWeights(`${to}.attentionNorm`, `${from}.ln_1`, hiddenSize),
    ...projection({
      name: `${to}.qkv`,
      from: qkv.map(source => ({ ...source, transposed })),
      columns: hiddenSize,
      bias: true,
    }),
    ...projection({
      name: `${to}.attentionOut`,
      from: [{ name: `${from}.attn.c_proj`, rows: hiddenSize, transposed }],
      columns: hiddenSize,
      columnSplit: 'queryHeads',
      bias: true,
    }),
    ...layerNormWeights(`${to}.mlpNorm`, `${from}.ln_2`, hiddenSize),
    ...projection({
      name: `${to}.mlpUp`,
      from: [{ name: `${from}.mlp.c_fc`, rows: intermediateSize, split: 'intermediate', transposed }],
      columns: hiddenSize,
      bias: true,
    }),
    ...projection({
      name: `${to}.mlpDown`,
      from: [{ name: `${from}.mlp.c_proj`, rows: hiddenSize, transposed }],
      columns: intermediateSize,
      columnSplit: 'intermediate',
      bias: true,
    }),
  ];
}
