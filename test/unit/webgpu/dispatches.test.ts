/** How many dispatches a layer of a Llama takes, in steps of every kind: each costs the device a fixed time. */
import type { Op, StepSizes } from '@quire/core/contract';
import { describe, expect, it } from 'vitest';
import type { Dispatch, KernelContext, Tuning } from '../../../packages/backend-webgpu/src/kernel.ts';
import { kernels } from '../../../packages/backend-webgpu/src/kernels/index.ts';
import { architectureOf, buildModelProgram, planWeights } from '../../../packages/core/src/models/index.ts';
import { llamaConfig } from '../models/configs.ts';
import { noSizes } from './fixtures.ts';

const ROWS = 32;
const maxSizes: StepSizes = {
  tokens: ROWS,
  sequences: ROWS,
  decodeSequences: ROWS,
  samples: ROWS,
  blocksPerSequence: 4,
  maxQueryTokens: ROWS,
  deltaSegments: 0,
};

function layerDispatches(tuning: Tuning, sizes: StepSizes): number {
  const config = llamaConfig();
  const program = buildModelProgram(config, {
    maxSizes,
    rowState: { maxRows: ROWS, maxBlocksPerSequence: 4, maxModelLen: 64, ringSlots: 8, maxBiasWords: 16 },
    weights: planWeights(architectureOf(config).weights(config), () => config.dtype, 1 << 27),
    blockSize: 16,
    numBlocks: 9,
    activationDtype: 'f32',
    kvDtype: 'f16',
  });
  const context: KernelContext = { tuning, maxSizes, tensor: name => ({ name, ...program.tensors[name]! }) };
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
const common = { nativeHalf: false, vocabularyLanes: 8 };
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

describe.each(Object.entries(tunings))('with lanes "%s", a layer takes', (_, tuning) => {
  it.each([1, 4, 16, 32])('8 dispatches to decode %i sequences', rows => {
    const decode = {
      ...noSizes,
      tokens: rows,
      sequences: rows,
      decodeSequences: rows,
      samples: rows,
      maxQueryTokens: 1,
    };
    expect(layerDispatches(tuning, decode)).toBe(8);
  });

  it('8 for prompts, and one more for both at once, whose attention has tiles of its own', () => {
    const prompts = { ...noSizes, tokens: 24, sequences: 3, samples: 3, maxQueryTokens: 8 };
    expect(layerDispatches(tuning, prompts)).toBe(8);
    expect(layerDispatches(tuning, { ...prompts, decodeSequences: 1 })).toBe(9);
  });
});
