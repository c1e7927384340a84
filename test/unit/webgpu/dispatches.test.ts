/** How many dispatches a layer of a Llama takes, in steps of every kind: each costs the device a fixed time. */
import type { Op, StepSizes } from '@quire/core/contract';
import { describe, expect, it } from 'vitest';
import type { Dispatch, KernelContext, Tuning } from '../../../packages/backend-webgpu/src/kernel.ts';
import { kernels } from '../../../packages/backend-webgpu/src/kernels/index.ts';
import { fuseNorms } from '../../../packages/backend-webgpu/src/norm-fusion.ts';
import { architectureOf, buildModelProgram, planWeights } from '../../../packages/core/src/models/index.ts';
import { llamaConfig } from '../models/configs.ts';
import { noSizes } from './fixtures.ts';

const ROWS = 32;
const BLOCKS = 64;
const maxSizes: StepSizes = {
  tokens: ROWS,
  sequences: ROWS,
  decodeSequences: ROWS,
  samples: ROWS,
  blocksPerSequence: BLOCKS,
  maxQueryTokens: ROWS,
  deltaSegments: 0,
};

function layerDispatches(tuning: Tuning, sizes: StepSizes): number {
  const config = llamaConfig();
  const program = buildModelProgram(config, {
    maxSizes,
    rowState: { maxRows: ROWS, maxBlocksPerSequence: BLOCKS, maxModelLen: 16 * BLOCKS, ringSlots: 8, maxBiasWords: 16 },
    weights: planWeights(architectureOf(config).weights(config), () => config.dtype, 1 << 27),
    blockSize: 16,
    numBlocks: 9,
    activationDtype: 'f32',
    kvDtype: 'f16',
  });
  const norms = fuseNorms(program, tuning);
  const context: KernelContext = { tuning, maxSizes, norms, tensor: name => ({ name, ...program.tensors[name]! }) };
  const counts = program.ops.map(op => {
    const kernel = kernels[op.op as keyof typeof kernels] as (op: Op, context: KernelContext) => readonly Dispatch[];
    const used = kernel(op, context).filter(({ workgroups }) => workgroups(sizes) > 0);
    const written = 'out' in op ? op.out : 'qkv' in op ? op.qkv : '';
    return written.startsWith('layers.0.') ? used.length : 0;
  });
  return counts.reduce((sum, count) => sum + count, 0);
}

const one = { fragment: 'lanes_one', count: 1 } as const;
const subgroup = { fragment: 'lanes_subgroup', count: 8 } as const;
const ofSubgroups = { name: 'subgroups', lanes: subgroup } as const;
const common = { nativeHalf: false, vocabularyLanes: 8, fewRows: 4 };
const tunings: Record<string, Tuning> = {
  one: { ...common, lanes: one, linear: () => ({ name: 'one', lanes: one, sums: 'shared' }), attentionLanes: one },
  subgroup: {
    ...common,
    lanes: subgroup,
    linear: () => ({ ...ofSubgroups, sums: 'shared' }),
    attentionLanes: subgroup,
  },
  columns: { ...common, lanes: subgroup, linear: () => ({ ...ofSubgroups, sums: 'own' }), attentionLanes: subgroup },
};

function decode(rows: number, blocksPerSequence: number): StepSizes {
  const counts = { tokens: rows, sequences: rows, decodeSequences: rows, samples: rows };
  return { ...noSizes, ...counts, blocksPerSequence, maxQueryTokens: 1 };
}
const prompts = { ...noSizes, tokens: 24, sequences: 3, samples: 3, maxQueryTokens: 8 };

describe.each(Object.entries(tunings))('with lanes "%s", a layer takes', (_, tuning) => {
  const alike = { ...tuning, fewRows: 0 };
  it.each([1, 4, 16, 32])(
    '8 dispatches to decode %i sequences, however long, where few rows are not treated apart',
    rows => {
      for (const blocks of [2, BLOCKS]) expect(layerDispatches(alike, decode(rows, blocks))).toBe(8);
    },
  );

  it.each([1, 4])('6 to decode %i sequences, whose norms the layers take in, and 7 where contexts are split', rows => {
    expect(layerDispatches(tuning, decode(rows, 16))).toBe(6);
    expect(layerDispatches(tuning, decode(rows, 17))).toBe(7);
  });

  it.each([5, 32])('8 to decode %i sequences, however long', rows => {
    for (const blocks of [2, BLOCKS]) expect(layerDispatches(tuning, decode(rows, blocks))).toBe(8);
  });

  it('8 for prompts, with decode rows beside them or without', () => {
    const long = { ...prompts, blocksPerSequence: BLOCKS };
    for (const sizes of [prompts, long]) {
      for (const decodeSequences of [0, 1]) expect(layerDispatches(tuning, { ...sizes, decodeSequences })).toBe(8);
    }
  });
});
