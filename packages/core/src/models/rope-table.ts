import type { TensorName } from '../contract/contract.ts';
import type { LayerConfig, ModelConfig, RopeConfig, YarnScaling } from './config.ts';

/** The rotary tables of a model, which are externals of its Program, f32 [maxModelLen, rotaryDim]. */
export function ropeTables({ rope, localRope }: ModelConfig) {
  const tables: { name: TensorName; kind: LayerConfig['positions']; rope: RopeConfig }[] = [];
  if (rope !== null) tables.push({ name: 'ropeTable', kind: 'global', rope });
  if (localRope !== null) tables.push({ name: 'localRopeTable', kind: 'local', rope: localRope });
  return tables;
}

/**
 * The rotary table of the `rope` op: f32 [positions, rotaryDim], `positions` the longest sequence that it is for. Of each position
 * rotaryDim / 2 cosines and then as many sines. Computed in f64 on the host, because WGSL's sin and cos are not accurate enough,
 * and rounded once.
 */
export function buildRopeTable(rope: RopeConfig, positions: number): Float32Array {
  const half = rope.rotaryDim / 2;
  const table = new Float32Array(positions * rope.rotaryDim);
  const amplitude = 'attentionFactor' in rope.scaling ? rope.scaling.attentionFactor : 1;
  let frequencies = ropeFrequencies(rope, positions);
  for (let position = 0; position < positions; position++) {
    if (rope.scaling.type === 'dynamic') frequencies = ropeFrequencies(rope, position + 1);
    const row = position * rope.rotaryDim;
    for (let i = 0; i < half; i++) {
      const angle = position * frequencies[i]!;
      table[row + i] = amplitude * Math.cos(angle);
      table[row + half + i] = amplitude * Math.sin(angle);
    }
  }
  return table;
}

/**
 * Angular frequency of each rotated pair, f64 [rotaryDim / 2], as Hugging Face's `ROPE_INIT_FUNCTIONS` define them.
 * `length` matters to dynamic NTK and long RoPE only. The base of the first grows with the sequence; the table takes for each
 * position the base of the sequence that ends there, which is what decoding token by token gives and does not depend on how a
 * prompt is chunked. Long RoPE has other factors above the original length; a table takes those of its last position, as vLLM
 * does, because keys in the cache cannot turn anew when a sequence grows beyond it.
 */
export function ropeFrequencies(rope: RopeConfig, length: number): Float64Array {
  const frequencies = new Float64Array(rope.rotaryDim / 2);
  const base = rope.scaling.type === 'dynamic' ? dynamicBase(rope, rope.scaling, length) : rope.theta;
  for (let i = 0; i < frequencies.length; i++) {
    frequencies[i] = scaleFrequency(base ** ((-2 * i) / rope.rotaryDim), i, rope, length);
  }
  return frequencies;
}

function dynamicBase(
  rope: RopeConfig,
  scaling: { factor: number; originalMaxPositions: number },
  length: number,
): number {
  const stretch = Math.max(length, scaling.originalMaxPositions) / scaling.originalMaxPositions;
  const exponent = rope.rotaryDim / (rope.rotaryDim - 2);
  return rope.theta * (scaling.factor * stretch - (scaling.factor - 1)) ** exponent;
}

function scaleFrequency(frequency: number, pair: number, rope: RopeConfig, length: number): number {
  const { scaling } = rope;
  switch (scaling.type) {
    case 'none':
    case 'dynamic':
      return frequency;
    case 'linear':
      return frequency / scaling.factor;
    case 'llama3':
      return llama3Frequency(frequency, scaling);
    case 'yarn':
      return yarnFrequency(frequency, pair, rope, scaling);
    case 'longrope':
      return frequency / (length > scaling.originalMaxPositions ? scaling.longFactors : scaling.shortFactors)[pair]!;
  }
}

interface Llama3Scaling {
  readonly factor: number;
  readonly lowFreqFactor: number;
  readonly highFreqFactor: number;
  readonly originalMaxPositions: number;
}

/** Long waves are stretched by the factor, short ones are kept, those between are blended. */
function llama3Frequency(frequency: number, s: Llama3Scaling): number {
  const turns = (s.originalMaxPositions * frequency) / (2 * Math.PI);
  if (turns < s.lowFreqFactor) return frequency / s.factor;
  if (turns > s.highFreqFactor) return frequency;
  const smooth = (turns - s.lowFreqFactor) / (s.highFreqFactor - s.lowFreqFactor);
  return ((1 - smooth) * frequency) / s.factor + smooth * frequency;
}

/** Pairs that turn often within the original length are kept, those that turn seldom stretched by the factor, those between blended. */
function yarnFrequency(frequency: number, pair: number, { theta, rotaryDim }: RopeConfig, s: YarnScaling): number {
  /** The pair, not a whole number, that turns so many times within the original length. */
  const pairOf = (turns: number) =>
    (rotaryDim * Math.log(s.originalMaxPositions / (2 * Math.PI * turns))) / (2 * Math.log(theta));
  const [first, last] = [pairOf(s.betaFast), pairOf(s.betaSlow)];
  const low = Math.max(s.truncate ? Math.floor(first) : first, 0);
  const high = Math.min(s.truncate ? Math.ceil(last) : last, rotaryDim - 1);
  // Bounds that are equal would divide by 0.
  const stretched = Math.min(Math.max((pair - low) / (high === low ? 0.001 : high - low), 0), 1);
  return (stretched * frequency) / s.factor + (1 - stretched) * frequency;
}
