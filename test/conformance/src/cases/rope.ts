import { within } from '../checks.ts';
import { group } from '../define.ts';
import { floats, type Pattern, type Random } from '../random.ts';
import { positionOf, ROTARY_POSITIONS, type RotaryShape, rotaryTable, rotationBound } from '../rotary.ts';
import type { CaseGroup, CaseInputs, CheckArguments } from '../types.ts';

interface Shape extends RotaryShape {
  quick: boolean;
}

export function ropeCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { heads: 1, kvHeads: 1, headDim: 32, rotaryDim: 32, interleaved: false, quick: true },
    { heads: 4, kvHeads: 2, headDim: 32, rotaryDim: 32, interleaved: true, quick: true },
    { heads: 8, kvHeads: 1, headDim: 64, rotaryDim: 64, interleaved: false, quick: true },
    { heads: 3, kvHeads: 3, headDim: 80, rotaryDim: 80, interleaved: false, quick: true },
    { heads: 4, kvHeads: 4, headDim: 80, rotaryDim: 32, interleaved: false, quick: true },
    { heads: 6, kvHeads: 2, headDim: 96, rotaryDim: 96, interleaved: true, quick: false },
    { heads: 2, kvHeads: 1, headDim: 96, rotaryDim: 24, interleaved: true, quick: true },
    { heads: 7, kvHeads: 1, headDim: 128, rotaryDim: 128, interleaved: false, quick: false },
    { heads: 5, kvHeads: 5, headDim: 128, rotaryDim: 64, interleaved: false, quick: false },
    { heads: 2, kvHeads: 2, headDim: 6, rotaryDim: 2, interleaved: false, quick: true },
    { heads: 32, kvHeads: 8, headDim: 64, rotaryDim: 64, interleaved: false, quick: false },
    { heads: 9, kvHeads: 3, headDim: 64, rotaryDim: 64, interleaved: true, quick: false },
  ];
  return [...shapes.flatMap(shape => rotations(shape, 13, [13, 1, 2, 7])), ...rotations(wide, 2100, [2100])];
}

/** An element or a pair per invocation, 64 to a workgroup: more than 65,535 workgroups. */
const wide: Shape = { heads: 30, kvHeads: 2, headDim: 128, rotaryDim: 128, interleaved: false, quick: false };

function rotations(shape: Shape, tokens: number, counts: readonly number[]): CaseGroup[] {
  const { heads, kvHeads, headDim, rotaryDim, interleaved } = shape;
  const width = (heads + 2 * kvHeads) * headDim;
  const kinds: readonly Pattern[] = ['normal', 'outliers', 'wide', 'ties'];
  const variants = (counts.length > 1 ? ['random', 'zero', 'last', 'consecutive'] : ['random']).flatMap((order, o) =>
    counts.slice(0, o < 2 ? 4 : 1).map((count, c) => ({
      name: `tokens=${count} positions=${order} ${kinds[(c + o) % 4]}`,
      sizes: { tokens: count },
      ...(order === 'zero' ? { trivial: 'no rotation at position 0' } : {}),
      fill: (random: Random): CaseInputs => ({
        qkv: floats(random, count * width, kinds[(c + o) % 4]),
        positions: Uint32Array.from({ length: count }, (_, i) => positionOf(order, random, i)),
        table: rotaryTable(rotaryDim),
      }),
    })),
  );
  return group({
    name: `heads=${heads}/${kvHeads}x${headDim} rotary=${rotaryDim}${interleaved ? ' interleaved' : ''}`,
    quick: shape.quick,
    maxSizes: { tokens },
    build(builder) {
      builder.external('qkv', 'f32', ['tokens', width]);
      builder.external('positions', 'u32', ['tokens']);
      builder.external('table', 'f32', [ROTARY_POSITIONS, rotaryDim]);
      builder.add({
        op: 'rope',
        qkv: 'qkv',
        positions: 'positions',
        table: 'table',
        heads,
        kvHeads,
        headDim,
        rotaryDim,
        interleaved,
      });
    },
    checks: { qkv: check(shape) },
    variants,
  });
}

function check(shape: Shape) {
  return within(
    'two products and a sum: 4e-7 (|a| + |b|); what is not rotated is left as it is',
    ({ inputs }: Omit<CheckArguments, 'actual'>) => rotationBound(shape, inputs.qkv!),
  );
}
