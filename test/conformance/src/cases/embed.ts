import { type Op, quantDTypes, quantFormats, type WeightDType } from '@quire/core/contract';
import { exact } from '../checks.ts';
import { dtypeName, group } from '../define.ts';
import { matrix } from '../matrices.ts';
import type { Random } from '../random.ts';
import type { CaseGroup, CaseInputs, CaseVariant, FloatType } from '../types.ts';

interface Shape {
  /** Rows of each part of the table; more than one stands for a table above the device's limits. */
  parts: readonly number[];
  width: number;
  weights: WeightDType;
  offset: number;
  /** The first row of the first part: tokens below it are left as they are. */
  start?: number;
  quick: boolean;
  tokens?: number;
  counts?: readonly number[];
  /** Default f32. */
  activations?: FloatType;
}

export function embedCases(): CaseGroup[] {
  const shapes: Shape[] = [
    { parts: [50], width: 64, weights: 'f32', offset: 0, quick: true },
    { parts: [50], width: 3, weights: 'f32', offset: 0, quick: true },
    { parts: [130], width: 80, weights: 'f16', offset: 0, quick: true },
    { parts: [130], width: 33, weights: 'f16', offset: 2, quick: true },
    { parts: [77], width: 96, weights: 'bf16', offset: 2, quick: true },
    { parts: [77], width: 7, weights: 'bf16', offset: 0, quick: true },
    { parts: [40, 40, 17], width: 48, weights: 'f32', offset: 0, quick: true },
    { parts: [33, 33, 33], width: 50, weights: 'f16', offset: 2, quick: true },
    { parts: [64, 1], width: 31, weights: 'bf16', offset: 0, quick: true },
    { parts: [30, 20], width: 20, weights: 'f16', offset: 1, start: 25, quick: true },
    { parts: [512], width: 768, weights: 'f16', offset: 2, quick: false },
    { parts: [2048], width: 288, weights: 'f32', offset: 0, quick: false },
    { parts: [1000], width: 1024, weights: 'bf16', offset: 0, quick: false },
    { parts: [50_272], width: 8, weights: 'f16', offset: 0, quick: true },
    { parts: [151_936], width: 4, weights: 'bf16', offset: 0, quick: false },
    { parts: [100_000, 51_936], width: 4, weights: 'f32', offset: 0, quick: false },
    { parts: [64], width: 64, weights: 'f32', offset: 0, quick: false, tokens: 70_000, counts: [70_000] },
    { parts: [50], width: 96, weights: 'bf16', activations: 'bf16', offset: 0, quick: true },
    { parts: [40, 37], width: 33, weights: 'f16', activations: 'f16', offset: 2, quick: true },
    { parts: [50], width: 80, weights: 'f32', activations: 'bf16', offset: 0, quick: true },
    { parts: [50], width: 7, weights: 'f16', activations: 'bf16', offset: 0, quick: false },
    ...quantDTypes.flatMap((weights): Shape[] => {
      const width = 3 * Math.max(quantFormats[weights].group, 11);
      return [
        { parts: [30, 20], width, weights, offset: 0, quick: true },
        { parts: [37], width, weights, activations: 'bf16', offset: 2, quick: false },
      ];
    }),
  ];
  return shapes.flatMap(embeddings);
}

function embeddings({
  parts,
  width,
  weights,
  offset,
  start = 0,
  quick,
  tokens = 11,
  counts = [11, 1, 2, 5, 8],
  activations = 'f32',
}: Shape): CaseGroup[] {
  const tables = parts.map((rows, i) => ({ name: `table${i}`, rows, firstRow: start + sum(parts.slice(0, i)) }));
  return group({
    name: `rows=${start > 0 ? `${start}..` : ''}${parts.join('+')} width=${width} ${weights} offset=${offset}${dtypeName(activations)}`,
    quick,
    maxSizes: { tokens },
    build(builder) {
      builder.external('ids', 'u32', ['tokens']);
      for (const table of tables) builder.external(table.name, weights, [table.rows, width]);
      builder.external('out', activations, ['tokens', width]);
      for (const { name, firstRow } of tables) {
        builder.add({ op: 'embed', ids: 'ids', table: name, out: 'out', offset, firstRow } satisfies Op);
      }
    },
    checks: { out: exact('a copy, or one rounding to nearest') },
    variants: [
      ...counts.map(rows => variant(`tokens=${rows}`, rows, random => random.integer(0, start + sum(parts) - offset))),
      variant(
        'first, last and joints',
        Math.min(tokens, 6),
        (_, i) => edges(parts, offset, start)[i % (2 * parts.length)]!,
      ),
    ],
    guarded: parts.length === 1 && start === 0 && tokens < 1000 && activations === 'f32',
  });

  function variant(name: string, rows: number, id: (random: Random, i: number) => number): CaseVariant {
    return {
      name,
      sizes: { tokens: rows },
      fill(random): CaseInputs {
        const data: Record<string, CaseInputs[string]> = {
          ids: Uint32Array.from({ length: rows }, (_, i) => id(random, i)),
        };
        for (const table of tables) data[table.name] = matrix(random, weights, table.rows, width);
        return data;
      },
    };
  }
}

/** Ids of the first and the last row of each part. */
function edges(parts: readonly number[], offset: number, start: number): number[] {
  return parts.flatMap((rows, i) => {
    const first = start + sum(parts.slice(0, i)) - offset;
    return [Math.max(0, first), first + rows - 1];
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
