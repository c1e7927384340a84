/** Batches are used again: histories that once left something wrong in them, found by the property test. */
import { test } from 'vitest';
import { type Command, Harness, type Setup } from './engine-harness.ts';

const add = (promptTokens: number, maxTokens: number): Command => ({
  kind: 'add',
  prompt: { fresh: Array<number>(promptTokens).fill(0), from: null, change: 'same', at: 0 },
  params: { maxTokens, temperature: 0.8, seed: 0, ignoreEos: true },
  salt: '',
  priority: 0,
});
const steps = (count: number): Command[] => Array.from({ length: count }, () => ({ kind: 'step', abortDuring: null }));
const abort = (index: number): Command => ({ kind: 'abort', index });

const setup: Setup = {
  blockSize: 2,
  spareBlocks: 3,
  budget: 2,
  samples: 1,
  maxNumSeqs: 2,
  chunked: true,
  prefixCaching: true,
  runAhead: 2,
  steps: 3,
  weakHash: false,
  policy: 'fcfs',
  watermark: 0,
  hostBlocks: 4,
  drafts: 0,
  drafter: 'ngram',
  fault: 'none',
  faultPeriod: 2,
};

test('a batch that stays empty, since blocks are on their way to the host, keeps no decodes from before', async () => {
  await Harness.runAll(setup, [
    add(1, 8),
    ...steps(1),
    add(1, 16),
    ...steps(6),
    add(2, 8),
    ...steps(4),
    add(2, 19),
    ...steps(6),
    add(1, 8),
    ...steps(6),
    add(2, 25),
    ...steps(15),
    add(1, 8),
    abort(6),
    ...steps(6),
    abort(0),
    ...steps(7),
  ]);
});
