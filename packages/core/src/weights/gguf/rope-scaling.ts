import { ModelFormatError } from '../../errors.ts';
import type { ModelSource } from '../types.ts';
import type { Config } from './architectures.ts';
import type { GgufHeader } from './header.ts';
import type { GgufMetadata } from './metadata.ts';

/** Factors of rotary positions, one for each pair of a head: they become a field of config.json, and are no weights. */
const FACTORS = 'rope_freqs.weight';
const SHORT_FACTORS = 'rope_factors_short.weight';
const LONG_FACTORS = 'rope_factors_long.weight';
export const ropeTensors: ReadonlySet<string> = new Set([FACTORS, SHORT_FACTORS, LONG_FACTORS]);

/**
 * `rope_scaling` of a file. Llama 3.1's lies there as a factor for each pair, the same at every length; Phi-3's as the factors of
 * short and of long sequences (LongRoPE). Throws ModelFormatError GG_TENSOR, GG_VALUE.
 */
export async function ropeScaling(
  source: ModelSource,
  header: GgufHeader,
  metadata: GgufMetadata,
): Promise<Config | null> {
  const factors = (name: string) => readFactors(source, header, name);
  const [always, short, long] = [await factors(FACTORS), await factors(SHORT_FACTORS), await factors(LONG_FACTORS)];
  if (short !== null && long !== null) return longRope(metadata, short, long);
  if (always !== null) return sameFactors(always, metadata.size(metadata.own('context_length')));
  return namedScaling(metadata);
}

function namedScaling(metadata: GgufMetadata): Config | null {
  const type = metadata.string(metadata.own('rope.scaling.type'), 'none');
  if (type === 'none') return null;
  const factor = metadata.number(metadata.own('rope.scaling.factor'), 1);
  if (type === 'linear') return { type, factor };
  if (type === 'yarn') return { type, factor, original_max_position_embeddings: originalLength(metadata) };
  throw metadata.bad(metadata.own('rope.scaling.type'), 'none, linear or yarn');
}

function originalLength(metadata: GgufMetadata): number {
  return metadata.size(metadata.own('rope.scaling.original_context_length'));
}

function sameFactors(factors: readonly number[], maxPositions: number): Config {
  return {
    type: 'longrope',
    short_factor: factors,
    long_factor: factors,
    original_max_position_embeddings: maxPositions,
    attention_factor: 1,
  };
}

function longRope(metadata: GgufMetadata, short: readonly number[], long: readonly number[]): Config {
  const amplitude = metadata.own('rope.scaling.attn_factor');
  return {
    type: 'longrope',
    short_factor: short,
    long_factor: long,
    original_max_position_embeddings: originalLength(metadata),
    ...(metadata.has(amplitude) && { attention_factor: metadata.number(amplitude) }),
  };
}

/** null: the file has none of the name. */
async function readFactors(source: ModelSource, header: GgufHeader, name: string): Promise<number[] | null> {
  const tensor = header.tensors.get(name);
  if (tensor === undefined) return null;
  if (tensor.type !== 'F32' || tensor.shape.length !== 1 || tensor.shape[0]! > 4096) {
    throw new ModelFormatError('GG_TENSOR', 'the factors of rotary positions are not usable', {
      file: header.file,
      tensor: name,
      found: `${tensor.type} [${tensor.shape.join(', ')}]`,
      expected: 'F32, one for each pair of a head',
    });
  }
  const bytes = await source.read(header.file, tensor.start, tensor.end);
  return [...new Float32Array(bytes.slice().buffer)];
}
