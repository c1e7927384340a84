import { within } from '../checks.ts';
import { group } from '../define.ts';
import { floats, type Pattern, type Random } from '../random.ts';
import type { CaseGroup, CaseInputs, CheckArguments } from '../types.ts';

interface Shape {
  heads: number;
  kvHeads: number;
  headDim: number;
  rotaryDim: number;
  interleaved: boolean;
  quick: boolean;
}
const POSITIONS = 300;

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
      builder.external('table', 'f32', [POSITIONS, rotaryDim]);
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
    checks: { qkv: check(shape, width) },
    variants,
  });
}

function positionOf(order: string, random: Random, i: number): number {
  if (order === 'zero') return 0;
  if (order === 'last') return POSITIONS - 1;
  return order === 'consecutive' ? (17 + i) % POSITIONS : random.integer(0, POSITIONS);
}

function rotaryTable(rotaryDim: number): Float32Array {
  const half = rotaryDim / 2;
  const table = new Float32Array(POSITIONS * rotaryDim);
  for (let position = 0; position < POSITIONS; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position / 10_000 ** (i / half);
      table[position * rotaryDim + i] = Math.cos(angle);
      table[position * rotaryDim + half + i] = Math.sin(angle);
    }
  }
  return table;
}

function check({ heads, kvHeads, headDim, rotaryDim, interleaved }: Shape, width: number) {
  return within(
    'two products and a sum: 4e-7 (|a| + |b|); what is not rotated is left as it is',
    ({ inputs }: Omit<CheckArguments, 'actual'>) => {
      const qkv = inputs.qkv!;
      return i => {
        const column = i % width;
        const d = column % headDim;
        if (column >= (heads + kvHeads) * headDim || d >= rotaryDim) return 0;
        const half = rotaryDim / 2;
        const partner = interleaved ? i + (d % 2 === 0 ? 1 : -1) : i + (d < half ? half : -half);
        return 4e-7 * (Math.abs(qkv[i]!) + Math.abs(qkv[partner]!));
      };
    },
  );
}
