import { encodeFloats } from '@quire/core/program';
import { dtypeName, group } from '../define.ts';
import { floats, type Pattern, type Random } from '../random.ts';
import {
  declareNorms,
  normInputs,
  normsName,
  positionOf,
  ROTARY_POSITIONS,
  type RotaryShape,
  rotaryTable,
  rotatedCheck,
  rotationReason,
} from '../rotary.ts';
import type { CaseGroup, CaseInputs, FloatType } from '../types.ts';

interface Shape extends RotaryShape {
  /** Default f32. */
  activations?: FloatType;
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
    { heads: 4, kvHeads: 2, headDim: 128, rotaryDim: 128, interleaved: false, norms: 'bf16', quick: true },
    { heads: 3, kvHeads: 1, headDim: 80, rotaryDim: 32, interleaved: false, norms: 'f16', quick: true },
    { heads: 2, kvHeads: 1, headDim: 6, rotaryDim: 4, interleaved: true, norms: 'f32', quick: true },
    { heads: 4, kvHeads: 2, headDim: 64, rotaryDim: 64, interleaved: false, activations: 'bf16', quick: true },
    { heads: 3, kvHeads: 1, headDim: 80, rotaryDim: 32, interleaved: true, activations: 'f16', quick: true },
    {
      heads: 2,
      kvHeads: 1,
      headDim: 128,
      rotaryDim: 128,
      interleaved: false,
      norms: 'bf16',
      activations: 'bf16',
      quick: true,
    },
    { heads: 16, kvHeads: 8, headDim: 256, rotaryDim: 256, interleaved: false, norms: 'f32', quick: false },
  ];
  return [...shapes.flatMap(shape => rotations(shape, 13, [13, 1, 2, 7])), ...rotations(wide, 2100, [2100])];
}

/** A head to a workgroup: more than 65,535 workgroups. */
const wide: Shape = { heads: 30, kvHeads: 2, headDim: 128, rotaryDim: 128, interleaved: false, quick: false };

function rotations(shape: Shape, tokens: number, counts: readonly number[]): CaseGroup[] {
  const { heads, kvHeads, headDim, rotaryDim, interleaved, activations = 'f32' } = shape;
  const width = (heads + 2 * kvHeads) * headDim;
  const kinds: readonly Pattern[] = ['normal', 'outliers', activations === 'f16' ? 'offset' : 'wide', 'ties'];
  const variants = (counts.length > 1 ? ['random', 'zero', 'last', 'consecutive'] : ['random']).flatMap((order, o) =>
    counts.slice(0, o < 2 ? 4 : 1).map((count, c) => ({
      name: `tokens=${count} positions=${order} ${kinds[(c + o) % 4]}`,
      sizes: { tokens: count },
      ...(order === 'zero' && shape.norms === undefined ? { trivial: 'no rotation at position 0' } : {}),
      fill: (random: Random): CaseInputs => ({
        qkv: encodeFloats(activations, floats(random, count * width, kinds[(c + o) % 4])),
        positions: Uint32Array.from({ length: count }, (_, i) => positionOf(order, random, i)),
        table: rotaryTable(rotaryDim),
        ...normInputs(random, shape),
      }),
    })),
  );
  return group({
    name: `heads=${heads}/${kvHeads}x${headDim} rotary=${rotaryDim}${interleaved ? ' interleaved' : ''}${normsName(shape)}${dtypeName(activations)}`,
    quick: shape.quick,
    maxSizes: { tokens },
    build(builder) {
      builder.external('qkv', activations, ['tokens', width]);
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
        ...declareNorms(builder, shape),
      });
    },
    checks: { qkv: rotatedCheck(shape, activations, rotationReason) },
    variants,
  });
}
