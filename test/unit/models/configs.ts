import type { ModelConfig } from '../../../packages/core/src/models/config.ts';
import { plainDecoder } from '../../../packages/core/src/models/parse-common.ts';

/** A small Llama configuration with overrides. */
export function llamaConfig(overrides: Partial<ModelConfig> = {}): ModelConfig {
  return {
    architecture: 'LlamaForCausalLM',
    hiddenSize: 32,
    intermediateSize: 48,
    numLayers: 2,
    numHeads: 4,
    numKvHeads: 2,
    headDim: 8,
    vocabSize: 96,
    maxPositionEmbeddings: 64,
    normEps: 1e-5,
    activation: 'silu',
    attentionBias: false,
    attentionOutBias: overrides.attentionBias ?? false,
    ...plainDecoder,
    mlpBias: false,
    tieWordEmbeddings: true,
    rope: { theta: 10000, rotaryDim: 8, scaling: { type: 'none' } },
    bosTokenId: 0,
    eosTokenIds: [2],
    padTokenId: null,
    dtype: 'f16',
    ...overrides,
  };
}

/** A small OPT configuration with overrides; `opt` is merged. */
export function optConfig(
  overrides: Partial<Omit<ModelConfig, 'opt'>> & { opt?: Partial<ModelConfig['opt'] & object> } = {},
): ModelConfig {
  const { opt, ...rest } = overrides;
  return {
    ...llamaConfig(),
    architecture: 'OPTForCausalLM',
    numKvHeads: 4,
    activation: 'relu',
    attentionBias: true,
    attentionOutBias: true,
    mlpBias: true,
    rope: null,
    ...rest,
    opt: {
      doLayerNormBefore: true,
      wordEmbedProjDim: 32,
      positionOffset: 2,
      finalLayerNorm: true,
      layerNormAffine: true,
      ...opt,
    },
  };
}
