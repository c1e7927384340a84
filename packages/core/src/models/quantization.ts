import { type DeviceInfo, type QuantDType, quantFormats } from '../contract/contract.ts';
import { ConfigError } from '../errors.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight } from './model-weights.ts';
import { type PackedMethod, packedMethods } from './packed/packed-weights.ts';

/** How matrices are quantised: on load, to one of our dtypes, or as the checkpoint already is. */
export type Quantization = QuantDType | PackedMethod;

export function isPackedMethod(method: Quantization): method is PackedMethod {
  return (packedMethods as readonly string[]).includes(method);
}

/** Throws ConfigError unless what is asked for is what the checkpoint is: as in vLLM, nothing is quantised twice. */
export function checkMethod(asked: Quantization | null, { quantization }: Pick<ModelConfig, 'quantization'>): void {
  if (asked === null || asked === quantization?.method) return;
  if (quantization !== null) {
    throw new ConfigError(
      `quantization is ${asked}, but the checkpoint is quantised with ${quantization.method}. Leave quantization out, or load the ` +
        'checkpoint that was not quantised.',
      'quantization',
    );
  }
  if (isPackedMethod(asked)) {
    throw new ConfigError(
      `quantization is ${asked}, but config.json has no quantization_config: the checkpoint is not quantised. Leave quantization out, ` +
        'or quantise on load with q8 or q4.',
      'quantization',
    );
  }
}

/**
 * Whether `quantization` applies to a weight: the matrices of linear layers inside the model. Embedding tables, the head, routers, norms
 * and biases stay as they are, as with vLLM's weight-only methods.
 */
export function isQuantised({ name, shape, ops, sources }: ModelWeight): boolean {
  const linear = ops.every(op => op === 'linear' || op === 'gatedLinear' || op === 'groupedLinear');
  const stays = name === 'head.weight' || name.endsWith('.router.weight');
  return linear && shape.length === 2 && sources.length > 0 && !stays;
}

/** Throws ConfigError unless the device offers the dtype and the columns of every weight that it applies to are whole groups. */
export function checkQuantization(
  dtype: QuantDType | null,
  weights: readonly ModelWeight[],
  { name: device, dtypes, ranks }: DeviceInfo,
): void {
  if (dtype === null) return;
  const { group } = quantFormats[dtype];
  for (const { name, shape, ops } of weights.filter(isQuantised)) {
    const refused = ops.find(op => {
      const entry = dtypes[op];
      return 'unsupported' in entry || !entry.weights?.includes(dtype);
    });
    if (refused !== undefined)
      throw new ConfigError(
        `quantization is ${dtype}, but ${device} does not offer ${refused} with such weights.`,
        'quantization',
      );
    const columns = shape[1]!;
    if (group === 0 || columns % group === 0) continue;
    const rank = ranks > 1 ? ' on each rank' : '';
    throw new ConfigError(
      `quantization is ${dtype}, but ${name} has ${columns} columns${rank}, which are not whole groups of ${group}. ` +
        `Use ${group > 32 && columns % 32 === 0 ? 'q4 (groups of 32) or q8' : 'q8'}${ranks > 1 ? ', or another tensorParallelSize' : ''}.`,
      'quantization',
    );
  }
}
