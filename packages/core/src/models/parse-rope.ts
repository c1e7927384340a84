import type { LongRopeScaling, RopeConfig, RopeScaling, YarnScaling } from './config.ts';
import type { ConfigFields } from './config-fields.ts';

const types = {
  default: 'none',
  linear: 'linear',
  dynamic: 'dynamic',
  llama3: 'llama3',
  yarn: 'yarn',
  longrope: 'longrope',
  su: 'longrope',
} as const;

/** What an architecture calls the base and the rotated share of a head, and its defaults. */
export interface RopeDefaults {
  readonly thetaName?: string;
  readonly theta?: number;
  readonly shareName?: string;
  readonly share?: number;
}

/**
 * Rotary positions of a Llama model. Three spellings are in use: `rope_theta` with `rope_scaling: { type }`, the same with
 * `rope_type`, and `rope_parameters: { rope_theta, rope_type }`. A rope type that we do not compute is an error, since ignoring it
 * would give wrong text.
 * @throws ModelFormatError CF_ROPE, CF_FIELD.
 */
export function parseRope(
  config: ConfigFields,
  headDim: number,
  maxPositions: number,
  defaults: RopeDefaults = {},
): RopeConfig {
  const parameters = config.object('rope_parameters');
  if (parameters !== null && config.has('rope_scaling')) {
    throw config.bad('rope_scaling', 'no rope_scaling beside rope_parameters', 'CF_ROPE');
  }
  const rotaryDim = parseRotaryDim(config, parameters, headDim, defaults);
  return {
    theta: parseTheta(config, parameters, defaults),
    rotaryDim,
    scaling: parseScaling(config, parameters ?? config.object('rope_scaling'), rotaryDim, maxPositions),
  };
}

function parseTheta(config: ConfigFields, parameters: ConfigFields | null, defaults: RopeDefaults): number {
  const { thetaName = 'rope_theta', theta = 10_000 } = defaults;
  const isPositive = (value: number) => value > 0;
  if (parameters?.has('rope_theta')) return parameters.float('rope_theta', isPositive, 'a number above 0');
  return config.float(thetaName, isPositive, 'a number above 0', theta);
}

function parseRotaryDim(
  config: ConfigFields,
  parameters: ConfigFields | null,
  headDim: number,
  defaults: RopeDefaults,
): number {
  const inParameters = parameters?.has('partial_rotary_factor') === true;
  const name = inParameters ? 'partial_rotary_factor' : (defaults.shareName ?? 'partial_rotary_factor');
  const isShare = (value: number) => value > 0 && value <= 1;
  const fields = inParameters ? parameters : config;
  const share = fields.float(name, isShare, 'a number above 0, at most 1', defaults.share ?? 1);
  const rotaryDim = Math.floor(headDim * share);
  if (rotaryDim % 2 === 0 && rotaryDim > 0) return rotaryDim;
  throw config.bad('head_dim', 'an even number: rotary positions turn pairs', 'CF_FIELD', `${rotaryDim}`);
}

function parseScaling(
  config: ConfigFields,
  fields: ConfigFields | null,
  rotaryDim: number,
  maxPositions: number,
): RopeScaling {
  if (fields === null) return { type: 'none' };
  const [old, renamed] = [fields.get('type'), fields.get('rope_type')];
  if (fields.has('type') && fields.has('rope_type') && old !== renamed)
    throw fields.bad('rope_type', 'the same as type', 'CF_ROPE');
  const type = fields.choice(fields.has('rope_type') ? 'rope_type' : 'type', types, 'default', 'CF_ROPE');
  if (type === 'none') return { type };
  if (type === 'longrope') return parseLongRope(config, fields, rotaryDim, maxPositions);
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

/** Phi-3 has the original length beside rope_scaling, and the factor is then the ratio of the two lengths. */
function parseLongRope(
  config: ConfigFields,
  fields: ConfigFields,
  rotaryDim: number,
  maxPositions: number,
): LongRopeScaling {
  for (const name of ['short_mscale', 'long_mscale']) {
    if (fields.has(name)) throw fields.bad(name, 'no such field: attention_factor scales attention', 'CF_ROPE');
  }
  const name = 'original_max_position_embeddings';
  const atRoot = config.has(name);
  const originalMaxPositions = (atRoot ? config : fields).integer(name, 1, 2 ** 31 - 1);
  const factor = atRoot
    ? maxPositions / originalMaxPositions
    : fields.float('factor', v => v > 0, 'a number above 0', maxPositions / originalMaxPositions);
  const amplitude = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
  const factors = (field: string) => fields.floats(field, rotaryDim / 2, v => v > 0, 'above 0');
  return {
    type: 'longrope',
    shortFactors: factors('short_factor'),
    longFactors: factors('long_factor'),
    originalMaxPositions,
    attentionFactor: fields.float('attention_factor', v => v > 0, 'a number above 0', amplitude),
  };
}
