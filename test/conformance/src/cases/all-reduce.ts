import { exact, u, within } from '../checks.ts';
import { group } from '../define.ts';
import { floats, patterns } from '../random.ts';
import { rowVariants } from '../row-variants.ts';
import type { CaseGroup } from '../types.ts';

const withResidual = within('one rounding: 2u (|x| + |residual|)', ({ inputs }) => {
  const [x, residual] = [inputs.x!, inputs.residual!];
  return i => 2 * u * (Math.abs(x[i]!) + Math.abs(residual[i]!));
});

/** In a group of one: the sum is x itself. Groups of several are tested where there are several devices. */
export function allReduceCases(): CaseGroup[] {
  const widths = [1, 3, 64, 97, 192, 768];
  return widths.flatMap((width, i) => [
    ...reductions(width, true, i % 2 === 0),
    ...reductions(width, false, i % 2 === 1),
  ]);
}

function reductions(width: number, residual: boolean, quick: boolean): CaseGroup[] {
  const out = residual ? 'out' : 'x';
  return group({
    name: `width=${width}${residual ? ' residual' : ' in place'}`,
    quick,
    maxSizes: { tokens: 9 },
    ...(residual ? width === 1 && { trivial: 'one column' } : { trivial: 'the sum over one rank is x itself' }),
    build(builder) {
      for (const name of residual ? ['x', 'residual', 'out'] : ['x']) builder.external(name, 'f32', ['tokens', width]);
      builder.add({ op: 'allReduce', x: 'x', ...(residual ? { residual: 'residual' } : {}), out });
    },
    checks: { [out]: residual ? withResidual : exact('the sum over one rank is x itself') },
    // A sparse row of three is all zeros by chance.
    variants: rowVariants([9, 1, 4, 8], patterns.slice(0, width > 3 ? undefined : -1), (random, rows, pattern) => ({
      x: floats(random, rows * width, pattern),
      ...(residual ? { residual: floats(random, rows * width, pattern) } : {}),
    })),
    guarded: residual,
  });
}
