/** The choice of experts and their gated layers: a device may run them as one launch. */
import type { WeightDType } from '@quire/core/contract';
import { encodeFloats } from '@quire/core/program';
import { groupedBound, groupedReason } from '../cases/grouped-linear.ts';
import { exact, u, within } from '../checks.ts';
import { group } from '../define.ts';
import { matrix } from '../matrices.ts';
import { floats } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, FloatType } from '../types.ts';

interface Shape {
  /** Columns of the weight, and of one expert's output. */
  k: number;
  n: number;
  /** All experts, those of them that the weight has, and the first of these. */
  experts: number;
  count?: number;
  first?: number;
  chosen: number;
  normalize: boolean;
  weights: WeightDType;
  activations: FloatType;
}

export function routedExpertCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { k: 64, n: 24, experts: 8, chosen: 2, normalize: true, weights: 'bf16', activations: 'bf16' },
    { k: 64, n: 12, experts: 128, chosen: 8, normalize: true, weights: 'f16', activations: 'f16' },
    { k: 64, n: 20, experts: 33, chosen: 3, normalize: false, weights: 'q4_32', activations: 'f32' },
    // Experts before the first and behind the last are elsewhere.
    { k: 32, n: 12, experts: 8, count: 3, first: 2, chosen: 4, normalize: true, weights: 'f32', activations: 'f32' },
  ];
  return shapes.flatMap(routedExperts);
}

function routedExperts(shape: Shape): CaseGroup[] {
  const { k, n, experts, count = experts, first = 0, chosen, normalize, weights, activations } = shape;
  const bound = groupedBound({ ...shape, count, first });
  return group({
    name: `routed, K=${k} N=${n} ${weights} ${chosen} of ${experts} activations=${activations}`,
    quick: true,
    maxSizes: { tokens: 9 },
    build(builder) {
      builder.external('logits', 'f32', ['tokens', experts]);
      builder.external('x', activations, ['tokens', k]);
      builder.external('weight', weights, [count * 2 * n, k]);
      builder.external('experts', 'u32', ['tokens', chosen]);
      builder.external('shares', 'f32', ['tokens', chosen]);
      builder.external('out', activations, ['tokens', chosen * n]);
      builder.add({ op: 'moeRoute', logits: 'logits', experts: 'experts', shares: 'shares', normalize });
      const tensors = { x: 'x', experts: 'experts', weight: 'weight', out: 'out' };
      builder.add({ op: 'groupedLinear', ...tensors, activation: 'silu', firstExpert: first });
    },
    checks: {
      experts: exact('logits are compared, not computed'),
      shares: within(
        'exp of a difference d is off by (4 + |d|) u, relative; a sum of them by its length in u',
        ({ expected }) =>
          i =>
            (experts + 40) * 2 * u * expected[i]! + 1e-30,
      ),
      out: within(
        groupedReason,
        args => {
          const ids = largest(args.inputs.logits as Float32Array, experts, chosen);
          return bound({ ...args, inputs: { ...args.inputs, experts: ids } });
        },
        activations,
      ),
    },
    variants: rowVariants([8, 1, 9, 3], ['normal', 'ties'], (random, tokens, pattern) => ({
      logits: floats(random, tokens * experts, pattern),
      x: encodeFloats(activations, floats(random, tokens * k, pattern)),
      weight: matrix(random, weights, count * 2 * n, k),
      // Something of `out` that was there before is there afterwards.
      ...(count < experts && { out: encodeFloats(activations, floats(random, tokens * chosen * n)) }),
    })),
  });
}

/** The experts of the largest logits of each row, of equal ones the first. */
function largest(logits: Float32Array, experts: number, chosen: number): Uint32Array<ArrayBuffer> {
  const ids = new Uint32Array((logits.length / experts) * chosen);
  for (let row = 0; row * experts < logits.length; row++) {
    const values = logits.subarray(row * experts, (row + 1) * experts);
    const order = Array.from(values.keys()).sort((a, b) => values[b]! - values[a]! || a - b);
    ids.set(order.slice(0, chosen), row * chosen);
  }
  return ids;
}
