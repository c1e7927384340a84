import type { RopeConfig, RopeScaling, YarnScaling } from './config.ts';
import type { ConfigFields } from './config-fields.ts';

const DEFAULT_THETA = 10_000;
const types = { default: 'none', linear: 'linear', dynamic: 'dynamic', llama3: 'llama3', yarn: 'yarn' } as const;

/**
 * Rotary positions of a Llama model. Three spellings are in use: `rope_theta` with `rope_scaling: { type }`, the same with
 * `rope_type`, and `rope_parameters: { rope_theta, rope_type }`. A rope type that we do not compute is an error, since ignoring it
 * would give wrong text.
 * @throws ModelFormatError CF_ROPE, CF_FIELD.
 */
export function parseRope(config: ConfigFields, headDim: number, maxPositions: number): RopeConfig {
  const parameters = config.object('rope_parameters');
  const scalingFields = parameters ?? config.object('rope_scaling');
  if (parameters !== null && config.has('rope_scaling')) {
    throw config.bad('rope_scaling', 'no rope_scaling beside rope_parameters', 'CF_ROPE');
  }
  const thetaFields = parameters?.has('rope_theta') ? parameters : config;
  const partial = parameters?.has('partial_rotary_factor') ? parameters : config;
  const share = partial.float('partial_rotary_factor', v => v > 0 && v <= 1, 'a number above 0, at most 1', 1);
  const rotaryDim = Math.floor(headDim * share);
  if (rotaryDim % 2 !== 0 || rotaryDim === 0)
    throw config.bad('head_dim', 'an even number: rotary positions turn pairs', 'CF_FIELD', `${rotaryDim}`);
  return {
    theta: thetaFields.float('rope_theta', v => v > 0, 'a number above 0', DEFAULT_THETA),
    rotaryDim,
    scaling: scalingFields === null ? { type: 'none' } : parseScaling(scalingFields, maxPositions),
  };
}

function parseScaling(fields: ConfigFields, maxPositions: number): RopeScaling {
  const [old, renamed] = [fields.get('type'), fields.get('rope_type')];
  if (fields.has('type') && fields.has('rope_type') && old !== renamed)
    throw fields.bad('rope_type', 'the same as type', 'CF_ROPE');
  const type = fields.choice(fields.has('rope_type') ? 'rope_type' : 'type', types, 'default', 'CF_ROPE');
  if (type === 'none') return { type };
  const factor = fields.float('factor', v => v >= 1, 'a number of at least 1');
  if (type === 'linear') return { type, factor };
  const originalMaxPositions = fields.integer(
    'original_max_position_embeddings',
    1,
    2 ** 31 - 1,
    type === 'llama3' ? undefined : maxPositions,
  );
  if (type === 'dynamic') return { type, factor, originalMaxPositions };
  if (type === 'yarn') return parseYarn(fields, factor, originalMaxPositions);
  const lowFreqFactor = fields.float('low_freq_factor', v => v > 0, 'a number above 0');
  const highFreqFactor = fields.float('high_freq_factor', v => v > lowFreqFactor, 'a number above low_freq_factor');
  return { type, factor, lowFreqFactor, highFreqFactor, originalMaxPositions };
}

/** Defaults are the paper's, as in vLLM. mscale belongs to DeepSeek's attention. */
function parseYarn(fields: ConfigFields, factor: number, originalMaxPositions: number): YarnScaling {
  for (const name of ['mscale', 'mscale_all_dim']) {
    if (fields.has(name)) throw fields.bad(name, 'no such field: attention_factor scales attention', 'CF_ROPE');
  }
  const betaSlow = fields.float('beta_slow', v => v > 0, 'a number above 0', 1);
  return {
    type: 'yarn',
    factor,
    originalMaxPositions,
    betaFast: fields.float('beta_fast', v => v > betaSlow, 'a number above beta_slow', 32),
    betaSlow,
    truncate: fields.boolean('truncate', true),
    attentionFactor: fields.float('attention_factor', v => v > 0, 'a number above 0', 0.1 * Math.log(factor) + 1),
  };
}
