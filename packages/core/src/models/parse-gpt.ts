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
  plainDecoder,
} from './parse-common.ts';
import { parseRope } from './parse-rope.ts';

export function parseOpt(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const common = parseCommon(fields, onNotice, true);
  const { hiddenSize, numHeads } = common;
  checkDivides(fields, hiddenSize, numHeads);
  const bias = fields.boolean('enable_bias', true);
  const doLayerNormBefore = fields.boolean('do_layer_norm_before', true);
  return {
    ...common,
    ...plainDecoder,
    architecture: 'OPTForCausalLM',
    intermediateSize: fields.integer('ffn_dim', 1, MAX_SIZE),
    numKvHeads: numHeads,
    headDim: hiddenSize / numHeads,
    // The table has two rows more: opt.positionOffset.
    maxPositionEmbeddings: fields.integer('max_position_embeddings', 1, MAX_POSITIONS, 2048),
    normEps: 1e-5,
    activation: fields.choice('activation_function', activations, 'relu'),
    attentionBias: bias,
    attentionOutBias: bias,
    mlpBias: bias,
    rope: null,
    opt: {
      doLayerNormBefore,
      wordEmbedProjDim: fields.integer('word_embed_proj_dim', 1, MAX_SIZE, hiddenSize),
      positionOffset: 2,
      finalLayerNorm: doLayerNormBefore && !fields.boolean('_remove_final_layer_norm', false),
      layerNormAffine: fields.boolean('layer_norm_elementwise_affine', true),
    },
  };
}

const gpt2Names = { hiddenSize: 'n_embd', numLayers: 'n_layer', numHeads: 'n_head' };

export function parseGpt2(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const common = parseCommon(fields, onNotice, true, gpt2Names);
  const { hiddenSize, numHeads } = common;
  checkDivides(fields, hiddenSize, numHeads, gpt2Names);
  if (!fields.boolean('scale_attn_weights', true))
    throw fields.bad('scale_attn_weights', 'true: scores are scaled by the root of the head size', 'CF_UNSUPPORTED');
  return {
    ...common,
    ...plainDecoder,
    ...withBiases,
    architecture: 'GPT2LMHeadModel',
    intermediateSize: fields.integer('n_inner', 1, MAX_SIZE, 4 * hiddenSize),
    numKvHeads: numHeads,
    headDim: hiddenSize / numHeads,
    maxPositionEmbeddings: fields.integer('n_positions', 1, MAX_POSITIONS, 1024),
    normEps: parseEps(fields, 'layer_norm_epsilon', 1e-5),
    activation: fields.choice('activation_function', activations, 'gelu_new'),
    rope: null,
  };
}

export function parseGptNeoX(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const common = parseCommon(fields, onNotice, false);
  const { hiddenSize, numHeads } = common;
  checkDivides(fields, hiddenSize, numHeads);
  const attentionBias = fields.boolean('attention_bias', true);
  const headDim = hiddenSize / numHeads;
  const maxPositionEmbeddings = fields.integer('max_position_embeddings', 1, MAX_POSITIONS, 2048);
  return {
    ...common,
    ...plainDecoder,
    ...withBiases,
    architecture: 'GPTNeoXForCausalLM',
    intermediateSize: fields.integer('intermediate_size', 1, MAX_SIZE),
    numKvHeads: numHeads,
    headDim,
    maxPositionEmbeddings,
    normEps: parseEps(fields, 'layer_norm_eps', 1e-5),
    activation: fields.choice('hidden_act', activations, 'gelu'),
    attentionBias,
    attentionOutBias: attentionBias,
    parallelResidual: fields.boolean('use_parallel_residual', true),
    rope: parseRope(fields, headDim, maxPositionEmbeddings, {
      thetaName: 'rotary_emb_base',
      shareName: 'rotary_pct',
      share: 0.25,
    }),
  };
}

const withBiases = { attentionBias: true, attentionOutBias: true, mlpBias: true } as const;
