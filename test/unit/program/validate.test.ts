import type { Bindings, DeviceTensor, Dim, DType, Op, StepSizes } from '@quire/core/contract';
import { checkBindings, checkSizes, ProgramBuilder, ProgramError } from '@quire/core/program';
import { describe, expect, it } from 'vitest';

const maxSizes: StepSizes = {
  tokens: 16,
  sequences: 4,
  decodeSequences: 4,
  samples: 4,
  blocksPerSequence: 2,
  maxQueryTokens: 16,
  deltaSegments: 8,
};

type Tensors = Readonly<Record<string, readonly [DType, ...Dim[]]>>;

/** Builds one op on external tensors. */
function build(op: Op, tensors: Tensors) {
  const builder = new ProgramBuilder('p', maxSizes);
  for (const [name, [dtype, ...shape]] of Object.entries(tensors)) builder.external(name, dtype, shape);
  builder.add(op);
  return builder.build();
}

const state = {
  rows: ['u32', 4, 24],
  blockTables: ['u32', 4, 2],
  tokenIds: ['u32', 4, 32],
  batch: ['u32', 5, 8],
  sequences: ['u32', 'sequences', 8],
  samples: ['u32', 'samples', 4],
  sampled: ['u32', 'samples', 2],
  logits: ['f32', 'samples', 10],
} as const satisfies Tensors;
const geometry = { heads: 2, kvHeads: 1, headDim: 4, blockSize: 8 };
const caches = { k: ['f16', 6, 1, 8, 4], v: ['f16', 6, 1, 8, 4] } as const satisfies Tensors;

/** One correct use of every op. */
const correct: { [K in Op['op']]: [op: Extract<Op, { op: K }>, tensors: Tensors] } = {
  applyRowDelta: [
    {
      op: 'applyRowDelta',
      delta: 'delta',
      rows: 'rows',
      blockTables: 'blockTables',
      tokenIds: 'tokenIds',
      batch: 'batch',
      biases: 'biases',
    },
    { ...state, delta: ['u32', 99], biases: ['u32', 4, 6] },
  ],
  prepareInputs: [
    {
      op: 'prepareInputs',
      batch: 'batch',
      rows: 'rows',
      tokenIds: 'tokenIds',
      blockTables: 'blockTables',
      inputIds: 'ids',
      positions: 'positions',
      slotMapping: 'slots',
      sequences: 'sequences',
      blockSize: 8,
    },
    { ...state, ids: ['u32', 'tokens'], positions: ['u32', 'tokens'], slots: ['u32', 'tokens'] },
  ],
  prepareSamples: [
    { op: 'prepareSamples', batch: 'batch', sequences: 'sequences', tokenIds: 'tokenIds', samples: 'samples' },
    state,
  ],
  advanceRows: [
    {
      op: 'advanceRows',
      batch: 'batch',
      sequences: 'sequences',
      samples: 'samples',
      sampled: 'sampled',
      rows: 'rows',
      tokenIds: 'tokenIds',
      ring: 'ring',
    },
    { ...state, ring: ['u32', 3, 4, 2] },
  ],
  embed: [
    { op: 'embed', ids: 'ids', table: 'table', out: 'out', offset: 2, firstRow: 0 },
    { ids: ['u32', 'tokens'], table: ['bf16', 10, 6], out: ['f32', 'tokens', 6] },
  ],
  rmsNorm: [
    { op: 'rmsNorm', x: 'x', weight: 'w', residual: 'r', sum: 'r', out: 'out', eps: 1e-5 },
    { x: ['f16', 'tokens', 6], r: ['f16', 'tokens', 6], w: ['f32', 6], out: ['f16', 'tokens', 6] },
  ],
  layerNorm: [
    { op: 'layerNorm', x: 'x', weight: 'w', bias: 'b', out: 'out', eps: 1e-5 },
    { x: ['f16', 'tokens', 6], w: ['f16', 6], b: ['f16', 6], out: ['f16', 'tokens', 6] },
  ],
  linear: [
    { op: 'linear', x: 'x', weight: 'w', bias: 'b', residual: 'out', out: 'out', activation: 'relu', outColumn: 2 },
    { x: ['f16', 'tokens', 6], w: ['bf16', 3, 6], b: ['bf16', 3], out: ['f32', 'tokens', 5] },
  ],
  rope: [
    {
      op: 'rope',
      qkv: 'qkv',
      positions: 'positions',
      table: 'table',
      heads: 2,
      kvHeads: 1,
      headDim: 4,
      rotaryDim: 4,
      interleaved: false,
    },
    { qkv: ['f16', 'tokens', 16], positions: ['u32', 'tokens'], table: ['f32', 32, 4] },
  ],
  kvWrite: [
    { op: 'kvWrite', qkv: 'qkv', slotMapping: 'slots', kCache: 'k', vCache: 'v', ...geometry },
    { ...caches, qkv: ['f32', 'tokens', 16], slots: ['u32', 'tokens'] },
  ],
  pagedAttention: [
    {
      op: 'pagedAttention',
      qkv: 'qkv',
      kCache: 'k',
      vCache: 'v',
      sequences: 'sequences',
      blockTables: 'blockTables',
      out: 'out',
      scale: 1,
      window: 0,
      softCap: 0,
      ...geometry,
    },
    { ...state, ...caches, qkv: ['f32', 'tokens', 16], out: ['f32', 'tokens', 8] },
  ],
  gatedActivation: [
    { op: 'gatedActivation', x: 'x', out: 'out', activation: 'silu' },
    { x: ['f16', 'tokens', 12], out: ['f16', 'tokens', 6] },
  ],
  add: [
    { op: 'add', a: 'a', b: 'b', out: 'a' },
    { a: ['f32', 'tokens', 6], b: ['f32', 'tokens', 6] },
  ],
  gatherRows: [
    { op: 'gatherRows', x: 'x', samples: 'samples', out: 'out' },
    { ...state, x: ['f32', 'tokens', 6], out: ['f32', 'samples', 6] },
  ],
  copyBlocks: [
    { op: 'copyBlocks', kCache: 'k', vCache: 'v', pairs: 'pairs' },
    { ...caches, pairs: ['u32', 3, 2] },
  ],
  zeroBlocks: [
    { op: 'zeroBlocks', kCache: 'k', vCache: 'v', blocks: 'blocks' },
    { ...caches, blocks: ['u32', 3] },
  ],
  penalties: [
    { op: 'penalties', logits: 'logits', samples: 'samples', rows: 'rows', tokenIds: 'tokenIds', out: 'logits' },
    state,
  ],
  biasLogits: [
    { op: 'biasLogits', logits: 'logits', samples: 'samples', rows: 'rows', biases: 'biases', out: 'out' },
    { ...state, biases: ['u32', 4, 6], out: ['f32', 'samples', 10] },
  ],
  filterLogits: [
    { op: 'filterLogits', logits: 'logits', samples: 'samples', rows: 'rows', thresholds: 'thresholds' },
    { ...state, thresholds: ['f32', 'samples'] },
  ],
  sample: [
    { op: 'sample', logits: 'logits', thresholds: 'thresholds', samples: 'samples', rows: 'rows', sampled: 'sampled' },
    { ...state, thresholds: ['f32', 'samples'] },
  ],
  argmax: [{ op: 'argmax', logits: 'logits', samples: 'samples', sampled: 'sampled' }, state],
  logProbs: [
    {
      op: 'logProbs',
      logits: 'logits',
      samples: 'samples',
      sampled: 'sampled',
      logprobs: 'logprobs',
      logprobIds: 'ids',
      topN: 3,
    },
    { ...state, logprobs: ['f32', 'samples', 4], ids: ['u32', 'samples', 5] },
  ],
};

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
    'rope',
    { rotaryDim: 3 },
    { table: ['f32', 32, 3] },
    'found rotaryDim = 3, expected an even number up to headDim (4).',
  ],
  ['rope', {}, { table: ['f32', 32, 2] }, 'table "table": found shape [32, 2], expected [P, 4].'],
  ['rope', {}, { table: ['f16', 32, 4] }, 'table "table": found dtype f16, expected f32.'],
  ['rope', {}, { qkv: ['f16', 'tokens', 12] }, 'qkv "qkv": found shape [tokens, 12], expected [T, 16].'],
  ['kvWrite', { vCache: 'k' }, {}, 'kCache "k": found the same tensor as vCache, expected a tensor of its own.'],
  ['kvWrite', {}, { v: ['f32', 6, 1, 8, 4] }, 'vCache "v": found dtype f32, expected f16 as of kCache "k".'],
  [
    'kvWrite',
    {},
    { v: ['f16', 7, 1, 8, 4] },
    'vCache "v": found shape [7, 1, 8, 4], expected [6, 1, 8, 4] to agree with kCache.',
  ],
  ['kvWrite', { blockSize: 4 }, {}, 'kCache "k": found shape [6, 1, 8, 4], expected [B, 1, 4, 4].'],
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
    expect(() => dtype.build()).toThrow('found dtype f64, expected one of f32, f16, bf16, u32');
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
