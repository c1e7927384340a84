import { type DeviceInfo, type QuantDType, quantFormats } from '../contract/contract.ts';
import { ConfigError } from '../errors.ts';
import type { ModelWeight } from './model-weights.ts';

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
