import type { Op } from '@quire/core/contract';

/**
 * How many ops behind it share a launch with an op at most, as addon/fusion.cc joins them, where blocks still read its operands while
 * others write what the last of them makes: a norm with a sum, another norm and a linear layer; a sum with the last two; the choice of
 * experts with their layers.
 */
export function sharedWith({ op }: Op): number {
  if (op === 'rmsNorm' || op === 'layerNorm') return 3;
  if (op === 'add') return 2;
  return op === 'moeRoute' ? 1 : 0;
}
