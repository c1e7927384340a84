import type { Dim, DType, Op, StepSizes } from '@quire/core/contract';
import { ProgramBuilder } from '@quire/core/program';

export const maxSizes: StepSizes = {
  tokens: 16,
  sequences: 4,
  decodeSequences: 4,
  samples: 4,
  blocksPerSequence: 2,
  maxQueryTokens: 16,
  deltaSegments: 8,
};

export type Tensors = Readonly<Record<string, readonly [DType, ...Dim[]]>>;

/** Builds one op on external tensors. */
export function build(op: Op, tensors: Tensors) {
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
export const correct: { [K in Op['op']]: [op: Extract<Op, { op: K }>, tensors: Tensors] } = {
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
  vocabParallelEmbed: [
    { op: 'vocabParallelEmbed', ids: 'ids', table: 'table', out: 'out', rowsPerRank: 12, firstRow: 3 },
    { ids: ['u32', 'tokens'], table: ['f16', 9, 6], out: ['f32', 'tokens', 6] },
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
  gatedLinear: [
    { op: 'gatedLinear', x: 'x', weight: 'w', bias: 'b', out: 'out', activation: 'silu' },
    { x: ['f16', 'tokens', 6], w: ['bf16', 10, 6], b: ['bf16', 10], out: ['f16', 'tokens', 5] },
  ],
  moeRoute: [
    { op: 'moeRoute', logits: 'logits', experts: 'experts', shares: 'shares', normalize: true },
    { logits: ['f32', 'tokens', 6], experts: ['u32', 'tokens', 2], shares: ['f32', 'tokens', 2] },
  ],
  groupedLinear: [
    {
      op: 'groupedLinear',
      x: 'x',
      experts: 'experts',
      weight: 'w',
      shares: 'shares',
      residual: 'r',
      out: 'out',
      activation: 'none',
      firstExpert: 1,
    },
    {
      x: ['f16', 'tokens', 8],
      experts: ['u32', 'tokens', 2],
      w: ['bf16', 15, 4],
      shares: ['f32', 'tokens', 2],
      r: ['f16', 'tokens', 5],
      out: ['f16', 'tokens', 5],
    },
  ],
  prepareAdapters: [
    { op: 'prepareAdapters', sequences: 'sequences', rows: 'rows', adapters: 'adapters' },
    { ...state, adapters: ['u32', 'tokens'] },
  ],
  loraLinear: [
    {
      op: 'loraLinear',
      x: 'x',
      adapters: 'adapters',
      a: 'a',
      b: 'b',
      scales: 'scales',
      hidden: 'hidden',
      out: 'out',
      sliceColumns: [4, 2],
    },
    {
      x: ['f16', 'tokens', 8],
      adapters: ['u32', 'tokens'],
      a: ['bf16', 3, 10, 8],
      b: ['bf16', 3, 6, 5],
      scales: ['f32', 3, 2],
      hidden: ['f32', 'tokens', 10],
      out: ['f16', 'tokens', 6],
    },
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
      qNorm: 'qn',
      kNorm: 'kn',
      normEps: 1e-6,
    },
    {
      qkv: ['f16', 'tokens', 16],
      positions: ['u32', 'tokens'],
      table: ['f32', 32, 4],
      qn: ['bf16', 4],
      kn: ['bf16', 4],
    },
  ],
  kvWrite: [
    { op: 'kvWrite', qkv: 'qkv', slotMapping: 'slots', kCache: 'k', vCache: 'v', ...geometry },
    { ...caches, qkv: ['f32', 'tokens', 16], slots: ['u32', 'tokens'] },
  ],
  ropeKvWrite: [
    {
      op: 'ropeKvWrite',
      qkv: 'qkv',
      positions: 'positions',
      table: 'table',
      slotMapping: 'slots',
      kCache: 'k',
      vCache: 'v',
      rotaryDim: 2,
      interleaved: true,
      ...geometry,
    },
    {
      ...caches,
      qkv: ['f32', 'tokens', 16],
      positions: ['u32', 'tokens'],
      table: ['f32', 32, 2],
      slots: ['u32', 'tokens'],
    },
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
  allReduce: [
    { op: 'allReduce', x: 'x', residual: 'r', out: 'x' },
    { x: ['f16', 'tokens', 6], r: ['f16', 'tokens', 6] },
  ],
  allGather: [
    { op: 'allGather', x: 'x', out: 'out' },
    { x: ['f32', 'samples', 6], out: ['f32', 'samples', 10] },
  ],
  send: [{ op: 'send', x: 'x', toStage: 1 }, { x: ['f16', 'tokens', 6] }],
  recv: [{ op: 'recv', out: 'x', fromStage: 0 }, { x: ['f16', 'tokens', 6] }],
  broadcast: [{ op: 'broadcast', x: 'sampled', fromStage: 1 }, state],
  scale: [{ op: 'scale', x: 'x', out: 'x', factor: 2, softCap: 0 }, { x: ['f16', 'tokens', 6] }],
  normColumns: [
    { op: 'normColumns', x: 'x', weight: 'weight', eps: 1e-6, column: 2 },
    { x: ['f16', 'tokens', 6], weight: ['f32', 4] },
  ],
  pool: [
    { op: 'pool', x: 'x', sequences: 'sequences', out: 'pooled', sum: true },
    { ...state, x: ['f16', 'tokens', 6], pooled: ['f32', 4, 6] },
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
  maskLogits: [
    { op: 'maskLogits', logits: 'logits', samples: 'samples', rows: 'rows', masks: 'masks', out: 'logits' },
    { ...state, masks: ['u32', 4, 1] },
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
