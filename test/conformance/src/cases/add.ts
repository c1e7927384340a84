import { u, within } from '../checks.ts';
import { group } from '../define.ts';
import { floats, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup } from '../types.ts';

const sum = within('one rounding, whose direction WGSL leaves open: 2u (|a| + |b|)', ({ inputs }) => {
  const [a, b] = [inputs.a!, inputs.b!];
  return i => 2 * u * (Math.abs(a[i]!) + Math.abs(b[i]!));
});

export function addCases(): CaseGroup[] {
  const widths = [1, 3, 64, 80, 97, 288, 768];
  return [
    ...widths.flatMap((width, i) => sums(width, 9, [9, 1, 2, 5, 8, 3], false, i % 2 === 0)),
    ...widths.flatMap((width, i) => sums(width, 17, [17, 1, 16, 4, 7, 13], true, i % 3 === 0)),
    // One element per invocation, 64 to a workgroup: more than 65,535 workgroups.
    ...sums(70_001, 60, [60], false, false),
  ];
}

function sums(width: number, tokens: number, counts: readonly number[], inPlace: boolean, quick: boolean): CaseGroup[] {
  const out = inPlace ? 'a' : 'out';
  return group({
    name: `width=${width}${inPlace ? ' in place' : ''}`,
    quick,
    maxSizes: { tokens },
    ...(width === 1 && { trivial: 'one column' }),
    build(builder) {
      for (const name of new Set(['a', 'b', out])) builder.external(name, 'f32', ['tokens', width]);
      builder.add({ op: 'add', a: 'a', b: 'b', out });
    },
    checks: { [out]: sum },
    variants: rowVariants(counts, counts.length > 1 ? patterns : ['normal'], (random, rows, pattern) => ({
      a: floats(random, rows * width, pattern),
      b: floats(random, rows * width, pattern),
    })),
    guarded: !inPlace && width < 1000,
  });
}
