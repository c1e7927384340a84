import { encodeFloats } from '@quire/core/program';
import { u, withinRounded } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats, halfPatterns, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, FloatType } from '../types.ts';

interface Shape {
  width: number;
  factor: number;
  softCap: number;
  inPlace?: boolean;
  quick?: boolean;
  /** Default f32. */
  activations?: FloatType;
}

const reason = 'a product, and where there is a cap a quotient and a tanh, which WGSL gives to about 2^-20 of the cap';

export function scaleCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { width: 64, factor: 8, softCap: 0, quick: true },
    { width: 71, factor: 1, softCap: 30, inPlace: true, quick: true },
    { width: 1, factor: -0.5, softCap: 0 },
    { width: 97, factor: 0.25, softCap: 2, quick: true },
    { width: 1024, factor: 1, softCap: 30 },
    { width: 96, factor: 17.875, softCap: 0, inPlace: true, activations: 'bf16', quick: true },
    { width: 33, factor: 3, softCap: 50, activations: 'f16', quick: true },
  ];
  return shapes.flatMap(scalings);
}

function scalings({ width, factor, softCap, inPlace = false, quick = false, activations = 'f32' }: Shape): CaseGroup[] {
  const out = inPlace ? 'x' : 'out';
  const all = activations === 'f16' ? halfPatterns : patterns;
  // Values that all reach the cap give a constant.
  const kinds = softCap > 0 ? all.filter(kind => kind !== 'offset') : all;
  return group({
    name: `width=${width} factor=${factor} softCap=${softCap}${inPlace ? ' in place' : ''}${dtypeName(activations)}`,
    quick,
    maxSizes: { tokens: 9 },
    ...(width === 1 && { trivial: 'one column' }),
    build(builder) {
      for (const name of new Set(['x', out])) builder.external(name, activations, ['tokens', width]);
      builder.add({ op: 'scale', x: 'x', out, factor, softCap });
    },
    checks: {
      [out]: withinRounded(reason, activations, [], ({ expected }) => {
        const ofCap = softCap * 2 ** -20;
        return i => 4 * u * Math.abs(expected[i]!) + ofCap;
      }),
    },
    variants: rowVariants([9, 1, 4, 7, 2, 8], kinds, (random, rows, pattern) => ({
      x: encodeFloats(activations, floats(random, rows * width, pattern)),
    })),
    guarded: !inPlace && activations === 'f32',
  });
}
