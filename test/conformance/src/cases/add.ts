import { encodeFloats } from '@quire/core/program';
import { u, withinRounded } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats, halfPatterns, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup, FloatType } from '../types.ts';

const sum = (activations: FloatType) =>
  withinRounded('one rounding, whose direction WGSL leaves open: 2u (|a| + |b|)', activations, ['a', 'b'], args => {
    const [a, b] = [args.inputs.a!, args.inputs.b!];
    return i => 2 * u * (Math.abs(a[i]!) + Math.abs(b[i]!));
  });

interface Shape {
  width: number;
  tokens: number;
  counts: readonly number[];
  inPlace: boolean;
  quick: boolean;
  /** Default f32. */
  activations?: FloatType;
}

export function addCases(): CaseGroup[] {
  const widths = [1, 3, 64, 80, 97, 288, 768];
  const apart = { tokens: 9, counts: [9, 1, 2, 5, 8, 3], inPlace: false };
  const over = { tokens: 17, counts: [17, 1, 16, 4, 7, 13], inPlace: true };
  return [
    ...widths.flatMap((width, i) => sums({ ...apart, width, quick: i % 2 === 0 })),
    ...widths.flatMap((width, i) => sums({ ...over, width, quick: i % 3 === 0 })),
    // One element per invocation, 64 to a workgroup: more than 65,535 workgroups.
    ...sums({ width: 70_001, tokens: 60, counts: [60], inPlace: false, quick: false }),
    ...sums({ ...apart, width: 96, activations: 'bf16', quick: true }),
    ...sums({ ...apart, width: 33, activations: 'f16', quick: true }),
    ...sums({ ...over, width: 1023, activations: 'bf16', quick: false }),
    ...sums({ ...over, width: 80, activations: 'f16', quick: true }),
  ];
}

function sums({ width, tokens, counts, inPlace, quick, activations = 'f32' }: Shape): CaseGroup[] {
  const out = inPlace ? 'a' : 'out';
  const kinds = activations === 'f16' ? halfPatterns : patterns;
  return group({
    name: `width=${width}${inPlace ? ' in place' : ''}${dtypeName(activations)}`,
    quick,
    maxSizes: { tokens },
    ...(width === 1 && { trivial: 'one column' }),
    build(builder) {
      for (const name of new Set(['a', 'b', out])) builder.external(name, activations, ['tokens', width]);
      builder.add({ op: 'add', a: 'a', b: 'b', out });
    },
    checks: { [out]: sum(activations) },
    variants: rowVariants(counts, counts.length > 1 ? kinds : ['normal'], (random, rows, pattern) => ({
      a: encodeFloats(activations, floats(random, rows * width, pattern)),
      b: encodeFloats(activations, floats(random, rows * width, pattern)),
    })),
    guarded: !inPlace && width < 1000 && activations === 'f32',
  });
}
