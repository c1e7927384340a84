import { type Architecture, layerNormWeights, type ProjectionSource, projection, single } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight } from './model-weights.ts';

/** GPTNeoXForCausalLM, of GPT-NeoX and Pythia (Black et al. 2022): parallel attention and MLP, rotary positions on a part of each head. */
export const gptNeoX: Architecture = {
  name: 'GPTNeoXForCausalLM',
  style: () => ({ norm: 'layerNorm', norms: 'input', gatedMlp: false, finalNorm: true, positionOffset: null }),
  weights: gptNeoXWeights,
  prefixes: ['gpt_neox.', ''],
  ignores: (name, config) =>
    /(^|\.)attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/.test(name) ||
    (config.tieWordEmbeddings && name === 'embed_out.weight'),
};

function gptNeoXWeights(config: ModelConfig): ModelWeight[] {
  const { hiddenSize, vocabSize, tieWordEmbeddings } = config;
  const table = { name: 'embed_in.weight', shape: [vocabSize, hiddenSize], split: 'vocabulary' } as const;
  const weights = [single('embed.weight', table, tieWordEmbeddings ? ['embed', 'linear'] : ['embed'])];
  for (let layer = 0; layer < config.numLayers; layer++) weights.push(...layerWeights(config, layer));
  weights.push(...layerNormWeights('finalNorm', 'final_layer_norm', hiddenSize));
  if (!tieWordEmbeddings) weights.push(single('head.weight', { ...table, name: 'embed_out.weight' }, ['linear']));
  return weights;
}

function layerWeights(config: ModelConfig, layer: number): ModelWeight[] {
  const { hiddenSize, intermediateSize, attentionBias, attentionOutBias } = config;
  const to = `layers.${layer}`;
  return [
    ...layerNormWeights(`${to}.attentionNorm`, `${to}.input_layernorm`, hiddenSize),
    ...projection({ name: `${to}.qkv`, from: qkvSources(to, config), columns: hiddenSize, bias: attentionBias }),
    ...projection({
      name: `${to}.attentionOut`,
      from: [{ name: `${to}.attention.dense`, rows: hiddenSize }],
      columns: hiddenSize,
      columnSplit: 'queryHeads',
      bias: attentionOutBias,
    }),
    ...layerNormWeights(`${to}.mlpNorm`, `${to}.post_attention_layernorm`, hiddenSize),
    ...projection({
      name: `${to}.mlpUp`,
      from: [{ name: `${to}.mlp.dense_h_to_4h`, rows: intermediateSize, split: 'intermediate' }],
      columns: hiddenSize,
      bias: true,
    }),
    ...projection({
      name: `${to}.mlpDown`,
      from: [{ name: `${to}.mlp.dense_4h_to_h`, rows: hiddenSize }],
      columns: intermediateSize,
      columnSplit: 'intermediate',
      bias: true,
    }),
  ];
}

/** The tensor has query, key and value of the first head, then those of the second, and so on. */
function qkvSources(to: string, { hiddenSize, headDim }: ModelConfig): ProjectionSource[] {
  return (['queryHeads', 'kvHeads', 'kvHeads'] as const).map((split, i) => ({
    name: `${to}.attention.query_key_value`,
    rows: hiddenSize,
    split,
    slice: { firstRow: i * headDim, blockRows: headDim, stride: 3 * headDim, tensorRows: 3 * hiddenSize },
  }));
}
