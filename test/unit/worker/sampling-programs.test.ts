import type { Op, Program } from '@quire/core/contract';
import { describe, expect, it } from 'vitest';
import {
  buildSamplingProgram,
  roundTopN,
  type SamplingClass,
  samplingClassName,
} from '../../../packages/core/src/worker/sampling-programs.ts';

const maxSizes = {
  tokens: 16,
  sequences: 4,
  decodeSequences: 4,
  samples: 4,
  blocksPerSequence: 4,
  maxQueryTokens: 16,
  deltaSegments: 0,
};
const rowState = { maxRows: 4, maxBlocksPerSequence: 4, maxModelLen: 64, ringSlots: 8, maxBiasWords: 16 };
const plain: SamplingClass = { random: false, biases: false, masks: false, penalties: false, topN: null };

function build(changes: Partial<SamplingClass>): Program {
  return buildSamplingProgram({ ...plain, ...changes }, { maxSizes, rowState, vocabSize: 96 });
}
const names = ({ ops }: Program) => ops.map(op => op.op);
const find = <N extends Op['op']>({ ops }: Program, name: N) =>
  ops.find(op => op.op === name) as Extract<Op, { op: N }>;

describe('buildSamplingProgram', () => {
  it('takes the ops that a class needs, in vLLM’s order', () => {
    expect(names(build({}))).toEqual(['argmax', 'advanceRows']);
    expect(names(build({ random: true }))).toEqual(['filterLogits', 'sample', 'advanceRows']);
    expect(names(build({ masks: true, biases: true, penalties: true, topN: 5 }))).toEqual([
      'maskLogits',
      'biasLogits',
      'penalties',
      'argmax',
      'logProbs',
      'advanceRows',
    ]);
  });

  it('changes logits in place unless their log-probabilities are asked for', () => {
    const inPlace = build({ random: true, penalties: true });
    expect(find(inPlace, 'penalties')).toMatchObject({ logits: 'logits', out: 'logits' });
    const masked = build({ masks: true });
    expect(find(masked, 'maskLogits')).toMatchObject({ logits: 'logits', out: 'logits' });
    expect(masked.tensors.masks).toMatchObject({ dtype: 'u32', shape: [4, 3], kind: 'external' });
    const kept = build({ random: true, masks: true, biases: true, penalties: true, topN: 0 });
    expect(find(kept, 'maskLogits')).toMatchObject({ logits: 'logits', out: 'processedLogits' });
    expect(find(kept, 'biasLogits')).toMatchObject({ logits: 'processedLogits', out: 'processedLogits' });
    expect(find(kept, 'penalties')).toMatchObject({ logits: 'processedLogits', out: 'processedLogits' });
    expect(find(kept, 'filterLogits').logits).toBe('processedLogits');
    expect(find(kept, 'sample').logits).toBe('processedLogits');
    expect(find(kept, 'logProbs')).toMatchObject({ logits: 'logits', topN: 0, logprobs: 'logprobs.0' });
  });
});

describe('samplingClassName', () => {
  it('differs between classes', () => {
    const flags = [false, true];
    const classes = flags.flatMap(random =>
      flags.flatMap(biases =>
        flags.flatMap(masks =>
          flags.flatMap(penalties => [null, 0, 5].map(topN => ({ random, biases, masks, penalties, topN }))),
        ),
      ),
    );
    expect(new Set(classes.map(samplingClassName)).size).toBe(48);
    expect(samplingClassName({ random: true, biases: false, masks: false, penalties: true, topN: 5 })).toBe(
      'random+penalties+logprobs5',
    );
  });
});

describe('roundTopN', () => {
  it('rounds up to few sizes, at most the limit', () => {
    expect([0, 1, 5, 6, 20, 21, 90].map(wanted => roundTopN(wanted, 100))).toEqual([0, 5, 5, 20, 20, 80, 100]);
    expect(roundTopN(3, 3)).toBe(3);
  });
});
