import { SEQUENCE_WORDS } from '@quire/core/contract';
import { encodeFloats } from '@quire/core/program';
import { u, within } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { floats } from '../random.ts';
import { packRecords } from '../scenario.ts';
import type { CaseGroup, CaseVariant, FloatType } from '../types.ts';

/** Query lengths of the sequences of a step; 0 is a spent one. */
const steps: readonly (readonly [name: string, lengths: readonly number[], firstPosition: number])[] = [
  ['prompts that begin', [5, 1, 9, 3], 0],
  ['prompts that go on', [4, 7, 1], 11],
  ['with spent rows', [3, 0, 8, 0, 2], 4],
  ['one token', [1], 0],
];
const [ROWS, TOKENS] = [7, 24];

export function poolCases(): CaseGroup[] {
  const shapes: [width: number, sum: boolean, activations: FloatType, quick: boolean][] = [
    [64, true, 'f32', true],
    [64, false, 'f32', true],
    [97, true, 'bf16', true],
    [33, false, 'f16', true],
    [768, true, 'f16', false],
    [2048, false, 'bf16', false],
    [1, true, 'f32', false],
    [5, false, 'bf16', false],
  ];
  return shapes.flatMap(([width, sum, activations, quick]) =>
    group({
      name: `width=${width} ${sum ? 'sum' : 'last'}${dtypeName(activations)}`,
      quick,
      maxSizes: { tokens: TOKENS, sequences: 6 },
      build(builder) {
        builder.external('x', activations, ['tokens', width]);
        builder.external('sequences', 'u32', ['sequences', SEQUENCE_WORDS]);
        builder.external('out', 'f32', [ROWS, width]);
        builder.add({ op: 'pool', x: 'x', sequences: 'sequences', out: 'out', sum });
      },
      checks: {
        out: within(
          'an f32 sum in any order: u times the terms times the largest partial sum',
          () => () => u * 24 * 128,
        ),
      },
      variants: steps.map(step => variant(step, width, activations)),
    }),
  );
}

function variant([name, lengths, first]: (typeof steps)[number], width: number, activations: FloatType): CaseVariant {
  const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((total, length) => total + length, 0));
  return {
    name,
    sizes: { tokens: TOKENS, sequences: lengths.length },
    fill: random => ({
      x: encodeFloats(activations, floats(random, TOKENS * width)),
      // Rows from the last one down.
      sequences: packRecords(lengths.length, SEQUENCE_WORDS, i => {
        const [length, row] = [lengths[i]!, ROWS - 1 - i];
        return [row, starts[i]!, length, length === 0 ? 0 : first + length, 0, 0, first, 100];
      }),
      out: floats(random, ROWS * width),
    }),
  };
}
