import type { Bindings, DeviceTensor, Dim, DType, Op } from '@quire/core/contract';
import { checkBindings, checkSizes, ProgramBuilder, ProgramError } from '@quire/core/program';
import { describe, expect, it } from 'vitest';
import { build, correct, maxSizes, type Tensors } from './op-examples.ts';

describe('a correct use', () => {
  it.each(Object.entries(correct))('of %s is accepted', (_, [op, tensors]) => {
    expect(build(op, tensors).ops).toEqual([op]);
  });
});

/** An op as above with some fields and tensors replaced, and the sentence that refuses it. */
type Wrong = [op: Op['op'], fields: Record<string, unknown>, tensors: Tensors, message: string];

const wrong: Wrong[] = [
  [
    'linear',
    { weight: 'w' },
    { w: ['bf16', 3, 7] },
    'program p, op 0 (linear), weight "w": found shape [3, 7], expected [N, 6] to agree with x.',
  ],
  ['linear', {}, { b: ['bf16', 4] }, 'op 0 (linear), bias "b": found shape [4], expected [3] to agree with weight.'],
  [
    'linear',
    {},
    { out: ['f32', 'samples', 5] },
    'residual "out": found shape [samples, 5], expected [tokens, W] to agree with x.',
  ],
  ['linear', {}, { x: ['f16', 'tokens', 2, 6] }, 'x "x": found shape [tokens, 2, 6], expected [T, K].'],
  ['linear', { outColumn: 3 }, {}, 'op 0 (linear), out "out": found columns 3 .. 6, expected columns within 0 .. 5.'],
  ['linear', { outColumn: -1 }, {}, 'found outColumn = -1, expected an integer of 0 or more.'],
  ['linear', {}, { b: ['f32', 3] }, 'bias "b": found dtype f32, expected bf16 as of weight "w".'],
  ['linear', {}, { out: ['bf16', 'tokens', 5] }, 'out "out": found dtype bf16, expected f16 as of x "x", or f32.'],
  ['linear', {}, { x: ['u32', 'tokens', 6] }, 'x "x": found dtype u32, expected f32, f16 or bf16.'],
  [
    'linear',
    { out: 'x' },
    { x: ['f16', 'tokens', 6] },
    'out "x": found the same tensor as x, expected a tensor of its own, or the one of residual.',
  ],
  [
    'linear',
    { weight: 'lost' },
    {},
    'weight "lost": found a name that is not declared, expected a tensor of the program.',
  ],
  ['linear', { weight: undefined }, {}, 'weight: found no tensor, expected the name of a tensor.'],
  ['linear', { op: 'matmul' }, {}, 'op 0 (matmul): found op matmul, expected an op of the catalogue.'],
  ['gatedLinear', {}, { w: ['bf16', 11, 6] }, 'bias "b": found shape [10], expected [11] to agree with weight.'],
  [
    'gatedLinear',
    {},
    { w: ['bf16', 12, 6], b: ['bf16', 12] },
    'weight "w": found 12 rows, expected 10 (gates and ups, out has 5 columns).',
  ],
  ['gatedLinear', {}, { out: ['f32', 'tokens', 5] }, 'out "out": found dtype f32, expected f16 as of x "x".'],
  ['gatedLinear', { out: 'x' }, {}, 'out "x": found the same tensor as x, expected a tensor of its own.'],
  ['rmsNorm', { out: 'x' }, {}, 'out "x": found the same tensor as x, expected a tensor of its own.'],
  ['rmsNorm', { sum: undefined }, {}, 'found residual alone, expected residual and sum, or neither of them.'],
  ['rmsNorm', { residual: undefined, sum: 'r' }, {}, 'found sum alone, expected residual and sum, or neither of them.'],
  ['rmsNorm', { eps: Number.NaN }, {}, 'found eps = NaN, expected 0 or a positive number.'],
  ['rmsNorm', {}, { r: ['f32', 'tokens', 6] }, 'residual "r": found dtype f32, expected f16 as of x "x".'],
  ['layerNorm', {}, { b: ['f16', 5] }, 'bias "b": found shape [5], expected [6] to agree with x.'],
  ['embed', { firstRow: -2 }, {}, 'found firstRow = -2, expected an integer of 0 or more.'],
  ['embed', { offset: 0.5 }, {}, 'found offset = 0.5, expected an integer.'],
  ['embed', {}, { ids: ['f32', 'tokens'] }, 'ids "ids": found dtype f32, expected u32.'],
  [
    'moeRoute',
    {},
    { experts: ['u32', 'tokens', 7], shares: ['f32', 'tokens', 7] },
    'found 7 experts, expected at most all (6).',
  ],
  [
    'moeRoute',
    {},
    { shares: ['f32', 'tokens', 3] },
    'found shape [tokens, 3], expected [tokens, 2] to agree with logits and experts.',
  ],
  ['groupedLinear', { firstExpert: -1 }, {}, 'found firstExpert = -1, expected an integer of 0 or more.'],
  ['groupedLinear', { activation: 'silu' }, {}, 'found activation = silu, expected none, where shares are given.'],
  ['groupedLinear', { shares: undefined }, {}, 'found residual, expected none, where no shares are given.'],
  ['groupedLinear', {}, { x: ['f16', 'tokens', 9] }, 'found 9 columns, expected 8 (for 2 experts of a token).'],
  ['groupedLinear', {}, { w: ['bf16', 14, 4] }, 'found 14 rows, expected a multiple of 5, those of an expert.'],
  [
    'groupedLinear',
    { shares: undefined, residual: undefined },
    { x: ['f16', 'tokens', 4] },
    'found 5 columns, expected a multiple of 2 experts.',
  ],
  ['prepareAdapters', {}, { adapters: ['f32', 'tokens'] }, 'adapters "adapters": found dtype f32, expected u32.'],
  ['loraLinear', { sliceColumns: [] }, {}, 'found sliceColumns = 0 slices, expected 1 to 4.'],
  ['loraLinear', { sliceColumns: [1, 1, 1, 1, 2] }, {}, 'found sliceColumns = 5 slices, expected 1 to 4.'],
  ['loraLinear', { sliceColumns: [6, 0] }, {}, 'found sliceColumns = [6, 0], expected positive integers.'],
  ['loraLinear', { sliceColumns: [4, 3] }, {}, 'found sliceColumns = 7 columns, expected those of out (6).'],
  ['loraLinear', {}, { b: ['bf16', 3, 6, 4] }, 'a "a": found 10 rows of a slot, expected 8 (2 slices of rank 4).'],
  [
    'loraLinear',
    { sliceColumns: [3, 2, 1] },
    { a: ['bf16', 3, 15, 8], hidden: ['f32', 'tokens', 15] },
    'scales "scales": found 2 of a slot, expected 3, one per slice.',
  ],
  ['loraLinear', {}, { b: ['f16', 3, 6, 5] }, 'b "b": found dtype f16, expected bf16 as of a "a".'],
  ['loraLinear', {}, { a: ['q8', 3, 10, 8], b: ['q8', 3, 6, 5] }, 'a "a": found dtype q8, expected f32, f16 or bf16.'],
  ['loraLinear', { out: 'x' }, {}, 'out "x": found the same tensor as x, expected a tensor of its own.'],
  [
    'rope',
    { rotaryDim: 3 },
    { table: ['f32', 32, 3] },
    'found rotaryDim = 3, expected an even number up to headDim (4).',
  ],
  ['rope', {}, { table: ['f32', 32, 2] }, 'table "table": found shape [32, 2], expected [P, 4].'],
  ['rope', {}, { table: ['f16', 32, 4] }, 'table "table": found dtype f16, expected f32.'],
  ['rope', {}, { qkv: ['f16', 'tokens', 12] }, 'qkv "qkv": found shape [tokens, 12], expected [T, 16].'],
  ['rope', { kNorm: undefined }, {}, 'found qNorm and normEps, expected qNorm, kNorm and normEps, or none of them.'],
  ['rope', { normEps: undefined }, {}, 'found qNorm and kNorm, expected qNorm, kNorm and normEps, or none of them.'],
  ['rope', { normEps: -1 }, {}, 'found normEps = -1, expected 0 or a positive number.'],
  ['rope', {}, { kn: ['f32', 4] }, 'kNorm "kn": found dtype f32, expected bf16 as of qNorm "qn".'],
  ['rope', {}, { qn: ['bf16', 8] }, 'qNorm "qn": found shape [8], expected [4].'],
  ['kvWrite', { vCache: 'k' }, {}, 'kCache "k": found the same tensor as vCache, expected a tensor of its own.'],
  ['kvWrite', {}, { v: ['f32', 6, 1, 8, 4] }, 'vCache "v": found dtype f32, expected f16 as of kCache "k".'],
  [
    'kvWrite',
    {},
    { v: ['f16', 7, 1, 8, 4] },
    'vCache "v": found shape [7, 1, 8, 4], expected [6, 1, 8, 4] to agree with kCache.',
  ],
  ['kvWrite', { blockSize: 4 }, {}, 'kCache "k": found shape [6, 1, 8, 4], expected [B, 1, 4, 4].'],
  [
    'ropeKvWrite',
    { rotaryDim: 6 },
    { table: ['f32', 32, 6] },
    'found rotaryDim = 6, expected an even number up to headDim',
  ],
  ['ropeKvWrite', { blockSize: 0 }, {}, 'found blockSize = 0, expected a positive integer.'],
  ['ropeKvWrite', {}, { slots: ['u32', 'samples'] }, 'found shape [samples], expected [tokens] to agree with qkv.'],
  ['ropeKvWrite', {}, { table: ['f32', 32, 4] }, 'table "table": found shape [32, 4], expected [P, 2].'],
  ['ropeKvWrite', { vCache: 'k' }, {}, 'kCache "k": found the same tensor as vCache, expected a tensor of its own.'],
  ['pagedAttention', { window: -1 }, {}, 'found window = -1, expected an integer of 0 or more.'],
  ['pagedAttention', { softCap: -1 }, {}, 'found softCap = -1, expected 0 or a positive number.'],
  ['pagedAttention', { scale: Infinity }, {}, 'found scale = Infinity, expected a finite number.'],
  ['pagedAttention', { kvHeads: 0 }, {}, 'found kvHeads = 0, expected a positive integer.'],
  [
    'pagedAttention',
    {},
    { out: ['f32', 'tokens', 16] },
    'out "out": found shape [tokens, 16], expected [tokens, 8] to agree with qkv.',
  ],
  [
    'pagedAttention',
    {},
    { sequences: ['u32', 'sequences', 7] },
    'sequences "sequences": found shape [sequences, 7], expected [Q, 8].',
  ],
  [
    'gatedActivation',
    {},
    { x: ['f16', 'tokens', 11] },
    'x "x": found 11 columns, expected 12 (gate and up, out has 6).',
  ],
  ['add', { out: 'b' }, {}, 'out "b": found the same tensor as b, expected a tensor of its own, or the one of a.'],
  ['scale', { softCap: -1 }, {}, 'found softCap = -1, expected 0 or a positive number.'],
  ['normColumns', { column: 3 }, {}, 'weight "weight": found columns 3 .. 7, expected columns within 0 .. 6.'],
  ['pool', {}, { pooled: ['f16', 4, 6] }, 'out "pooled": found dtype f16, expected f32.'],
  ['vocabParallelEmbed', { rowsPerRank: 0 }, {}, 'found rowsPerRank = 0, expected a positive integer.'],
  ['vocabParallelEmbed', { firstRow: 4 }, {}, 'table "table": found rows 4 .. 13, expected rows within 0 .. 12.'],
  ['send', { toStage: -1 }, {}, 'found toStage = -1, expected an integer of 0 or more.'],
  ['broadcast', {}, { sampled: ['f32', 'samples', 2] }, 'x "sampled": found dtype f32, expected u32.'],
  ['recv', { fromStage: 0.5 }, {}, 'found fromStage = 0.5, expected an integer of 0 or more.'],
  ['allReduce', { out: 'r' }, {}, 'out "r": found the same tensor as residual, expected a tensor of its own'],
  ['allGather', {}, { out: ['f32', 'samples', 5] }, 'x "x": found 6 columns, expected at most the width of out (5).'],
  [
    'gatherRows',
    {},
    { out: ['f32', 'tokens', 6] },
    'out "out": found shape [tokens, 6], expected [samples, 6] to agree with samples and x.',
  ],
  ['copyBlocks', {}, { pairs: ['u32', 3] }, 'pairs "pairs": found shape [3], expected [C, 2].'],
  [
    'zeroBlocks',
    {},
    { v: ['f16', 6, 1, 8, 5] },
    'vCache "v": found shape [6, 1, 8, 5], expected [6, 1, 8, 4] to agree with kCache.',
  ],
  [
    'applyRowDelta',
    {},
    { biases: ['u32', 5, 6] },
    'biases "biases": found shape [5, 6], expected [4, W] to agree with rows.',
  ],
  ['prepareInputs', { blockSize: 0 }, {}, 'found blockSize = 0, expected a positive integer.'],
  [
    'prepareInputs',
    {},
    { batch: ['u32', 4, 8] },
    'batch "batch": found 4 records, expected at least 5 (a header and one per sequence).',
  ],
  [
    'prepareInputs',
    { positions: 'ids' },
    {},
    'inputIds "ids": found the same tensor as positions, expected a tensor of its own.',
  ],
  [
    'prepareSamples',
    {},
    { samples: ['u32', 'samples', 5] },
    'samples "samples": found shape [samples, 5], expected [S, 4].',
  ],
  [
    'advanceRows',
    {},
    { ring: ['u32', 3, 5, 2] },
    'ring "ring": found shape [3, 5, 2], expected [G, 4, 2] to agree with rows.',
  ],
  ['penalties', {}, { logits: ['f16', 'samples', 10] }, 'logits "logits": found dtype f16, expected f32.'],
  [
    'biasLogits',
    {},
    { out: ['f32', 'samples', 9] },
    'out "out": found shape [samples, 9], expected [samples, 10] to agree with logits.',
  ],
  ['maskLogits', {}, { masks: ['u32', 4, 2] }, 'masks "masks": found 2 words, expected 1 (a bit for each of 10 ids).'],
  [
    'filterLogits',
    {},
    { thresholds: ['f32', 'tokens'] },
    'thresholds "thresholds": found shape [tokens], expected [samples] to agree with logits.',
  ],
  ['sample', {}, { rows: ['u32', 4, 23] }, 'rows "rows": found shape [4, 23], expected [M, 24].'],
  [
    'argmax',
    {},
    { sampled: ['u32', 'samples', 3] },
    'sampled "sampled": found shape [samples, 3], expected [samples, 2] to agree with logits.',
  ],
  [
    'logProbs',
    { topN: 4 },
    {},
    'logprobs "logprobs": found shape [samples, 4], expected [samples, 5] to agree with logits.',
  ],
  [
    'logProbs',
    { topN: 11 },
    { logprobs: ['f32', 'samples', 12], ids: ['u32', 'samples', 13] },
    'found topN = 11, expected at most the vocabulary (10).',
  ],
];

describe('a wrong use is refused with a sentence', () => {
  it.each(wrong)('%s %j %j', (name, fields, tensors, message) => {
    const [op, declared] = correct[name];
    const attempt = () => build({ ...op, ...fields } as Op, { ...declared, ...tensors });
    expect(attempt).toThrow(ProgramError);
    expect(attempt).toThrow(message);
  });

  it('covers every op', () => {
    const tested = new Set(wrong.map(([name]) => name));
    expect(Object.keys(correct).filter(name => !tested.has(name as Op['op']))).toEqual([]);
  });
});

describe('a program as a whole', () => {
  const builder = () => new ProgramBuilder('p', maxSizes);

  it('may not read a temporary before it is written', () => {
    const b = builder();
    b.external('x', 'f32', ['tokens', 4]);
    b.temporary('y', 'f32', ['tokens', 4]);
    b.add({ op: 'add', a: 'x', b: 'y', out: 'x' });
    expect(() => b.build()).toThrow('b "y": found a temporary that no earlier op has written, expected a written one.');
  });

  it('has weights and caches that are external', () => {
    const b = builder();
    b.external('x', 'f32', ['tokens', 4]);
    b.temporary('w', 'f32', [4, 4]);
    b.temporary('y', 'f32', ['tokens', 4]);
    b.add({ op: 'linear', x: 'x', weight: 'w', out: 'y', activation: 'none', outColumn: 0 });
    expect(() => b.build()).toThrow('weight "w": found a temporary, expected an external tensor.');
  });

  it('uses its temporaries, declares a name once, and has sizes of the step in front only', () => {
    const unused = builder();
    unused.temporary('y', 'f32', ['tokens', 4]);
    expect(() => unused.build()).toThrow('program p, temporary "y": found no op that uses it');
    expect(() => unused.external('y', 'f32', [1])).toThrow('"y": found a second declaration');
    const inner = builder();
    inner.external('x', 'f32', [4, 'tokens']);
    expect(() => inner.build()).toThrow(
      'external "x": found shape [4, tokens], expected a size of the step in the first',
    );
    const empty = builder();
    empty.external('x', 'f32', []);
    expect(() => empty.build()).toThrow('found shape [], expected at least one dimension');
  });

  it('has known dtypes, dimensions and sizes', () => {
    const dtype = builder();
    dtype.external('x', 'f64' as DType, [4]);
    expect(() => dtype.build()).toThrow('found dtype f64, expected one of f32, f16, bf16, i8, f8e4m3, u32, q8');
    const dimension = builder();
    dimension.external('x', 'f32', ['token' as Dim]);
    expect(() => dimension.build()).toThrow(
      'found dimension token, expected an integer of 0 or more, or one of tokens',
    );
    const sizes = new ProgramBuilder('p', { ...maxSizes, samples: 1.5 });
    expect(() => sizes.build()).toThrow('found maxSizes.samples = 1.5, expected an integer of 0 or more');
  });
});

describe('checkBindings', () => {
  const program = build(...correct.add);
  const bound = (dtype: DType, ...shape: number[]): DeviceTensor => ({
    spec: { name: 'bound', dtype, shape, usage: 'state' },
    bytes: 0,
    dispose() {},
  });
  const good = (): Bindings => ({ a: bound('f32', 16, 6), b: bound('f32', 20, 6), other: bound('u32', 1) });

  it('accepts tensors with room for the largest step', () => {
    expect(() => checkBindings(program, good())).not.toThrow();
  });

  it.each([
    ['no binding', {}, 'external "a": found no binding, expected f32 [tokens, 6]'],
    [
      'too few rows',
      { ...good(), a: bound('f32', 15, 6) },
      'found f32 [15, 6] (bound), expected f32 [tokens, 6] with tokens at least 16',
    ],
    ['another width', { ...good(), b: bound('f32', 16, 7) }, 'external "b": found f32 [16, 7] (bound)'],
    ['another dtype', { ...good(), a: bound('f16', 16, 6) }, 'external "a": found f16 [16, 6] (bound)'],
    ['another rank', { ...good(), a: bound('f32', 96) }, 'external "a": found f32 [96] (bound)'],
  ] satisfies [string, Bindings, string][])('refuses %s', (_, bindings, message) => {
    expect(() => checkBindings(program, bindings)).toThrow(message);
  });

  it('refuses one tensor under two names where an op writes it', () => {
    const one = bound('f32', 16, 6);
    expect(() => checkBindings(program, { a: one, b: one })).toThrow(
      'op 0 (add), out "a": found the device tensor that is also bound to b "b", expected one name for a tensor that the op writes.',
    );
  });
});

describe('checkSizes', () => {
  const program = build(...correct.add);

  it.each([
    [{ tokens: 17 }, 'found tokens = 17, expected an integer from 0 to 16 (maxSizes)'],
    [{ samples: -1 }, 'found samples = -1'],
    [{ sequences: 1.5 }, 'found sequences = 1.5'],
    [{ sequences: 2, decodeSequences: 3 }, 'found decodeSequences = 3, expected at most sequences (2)'],
  ])('refuses %j', (sizes, message) => {
    expect(() => checkSizes(program, { ...maxSizes, ...sizes })).toThrow(message);
  });

  it('accepts the maximum and zero', () => {
    expect(() => checkSizes(program, maxSizes)).not.toThrow();
    expect(() => checkSizes(program, { ...maxSizes, sequences: 0, decodeSequences: 0, tokens: 0 })).not.toThrow();
  });
});
