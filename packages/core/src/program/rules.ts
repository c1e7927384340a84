import {
  type AttentionShape,
  BATCH_WORDS,
  type Dim,
  type OpName,
  type OpOf,
  ROW_WORDS,
  SAMPLE_WORDS,
  SEQUENCE_WORDS,
  type StepSizes,
} from '../contract/contract.ts';
import type { TensorField } from './operands.ts';

/** A dimension that takes whatever the first tensor with it has; every later one must have the same. */
export type Variable =
  | 'A'
  | 'B'
  | 'C'
  | 'D'
  | 'G'
  | 'H'
  | 'K'
  | 'L'
  | 'M'
  | 'N'
  | 'P'
  | 'Q'
  | 'R'
  | 'S'
  | 'T'
  | 'V'
  | 'W';
export type Pattern = readonly (number | Variable)[];

/** What a rule found in the shapes, and how it complains about an attribute or a relation between dimensions. */
export interface RuleContext {
  /** The dimension that a variable stands for. */
  dim(variable: Variable): Dim;
  /** The same in elements at maxSizes. */
  max(variable: Variable): number;
  readonly maxSizes: StepSizes;
  require(holds: boolean, found: string, expected: string, field?: string): void;
}

/** Shapes of an op's tensors, and what else must hold. Rows come from the shapes, so any of the step's sizes may lead. */
export interface Rule<K extends OpName> {
  shapes(op: OpOf<K>): Readonly<Record<TensorField<K>, Pattern>>;
  check?(op: OpOf<K>, context: RuleContext): void;
}

const rowState = {
  rows: ['M', ROW_WORDS],
  blockTables: ['M', 'N'],
  tokenIds: ['M', 'L'],
  batch: ['B', BATCH_WORDS],
} as const satisfies Record<string, Pattern>;
const sequences: Pattern = ['Q', SEQUENCE_WORDS];
const samples: Pattern = ['S', SAMPLE_WORDS];
const logits: Pattern = ['S', 'V'];
const sampled: Pattern = ['S', 2];

const qkv = (op: Omit<AttentionShape, 'blockSize'>): Pattern => ['T', (op.heads + 2 * op.kvHeads) * op.headDim];
const cache = (op: AttentionShape): Pattern => ['B', op.kvHeads, op.blockSize, op.headDim];

export const rules = {
  applyRowDelta: { shapes: () => ({ delta: ['D'], biases: ['M', 'W'], ...rowState }) },
  prepareInputs: {
    shapes: () => ({ ...rowState, inputIds: ['T'], positions: ['T'], slotMapping: ['T'], sequences }),
    check(op, context) {
      positive(context, op, 'blockSize');
      batchHolds(context);
    },
  },
  prepareSamples: {
    shapes: () => ({ batch: rowState.batch, sequences, tokenIds: rowState.tokenIds, samples }),
    check: (_, context) => batchHolds(context),
  },
  advanceRows: {
    shapes: () => ({
      batch: rowState.batch,
      sequences,
      samples,
      sampled,
      rows: rowState.rows,
      tokenIds: rowState.tokenIds,
      ring: ['G', 'M', 2],
    }),
    check: (_, context) => batchHolds(context),
  },
  embed: {
    shapes: () => ({ ids: ['T'], table: ['R', 'H'], out: ['T', 'H'] }),
    check(op, context) {
      context.require(Number.isInteger(op.offset), `${op.offset}`, 'an integer', 'offset');
      notNegative(context, op, 'firstRow');
    },
  },
  rmsNorm: {
    shapes: () => ({ x: ['T', 'H'], weight: ['H'], residual: ['T', 'H'], sum: ['T', 'H'], out: ['T', 'H'] }),
    check(op, context) {
      epsilon(context, op.eps);
      const both = (op.residual === undefined) === (op.sum === undefined);
      context.require(
        both,
        op.sum === undefined ? 'residual alone' : 'sum alone',
        'residual and sum, or neither of them',
      );
    },
  },
  layerNorm: {
    shapes: () => ({ x: ['T', 'H'], weight: ['H'], bias: ['H'], out: ['T', 'H'] }),
    check: (op, context) => epsilon(context, op.eps),
  },
  linear: {
    shapes: () => ({ x: ['T', 'K'], weight: ['N', 'K'], bias: ['N'], residual: ['T', 'W'], out: ['T', 'W'] }),
    check(op, context) {
      notNegative(context, op, 'outColumn');
      const end = op.outColumn + context.max('N');
      const width = context.max('W');
      context.require(
        end <= width,
        `columns ${op.outColumn} .. ${end}`,
        `columns within 0 .. ${width} of out`,
        'outColumn',
      );
    },
  },
  rope: {
    shapes: op => ({ qkv: qkv(op), positions: ['T'], table: ['P', op.rotaryDim] }),
    check(op, context) {
      heads(context, op);
      const fits = op.rotaryDim > 0 && op.rotaryDim % 2 === 0 && op.rotaryDim <= op.headDim;
      context.require(fits, `${op.rotaryDim}`, `an even number up to headDim (${op.headDim})`, 'rotaryDim');
    },
  },
  kvWrite: {
    shapes: op => ({ qkv: qkv(op), slotMapping: ['T'], kCache: cache(op), vCache: cache(op) }),
    check(op, context) {
      heads(context, op);
      positive(context, op, 'blockSize');
    },
  },
  pagedAttention: {
    shapes: op => ({
      qkv: qkv(op),
      kCache: cache(op),
      vCache: cache(op),
      sequences,
      blockTables: ['M', 'N'],
      out: ['T', op.heads * op.headDim],
    }),
    check(op, context) {
      heads(context, op);
      positive(context, op, 'blockSize');
      notNegative(context, op, 'window');
      context.require(
        op.softCap >= 0 && Number.isFinite(op.softCap),
        `${op.softCap}`,
        '0 or a positive number',
        'softCap',
      );
      context.require(Number.isFinite(op.scale), `${op.scale}`, 'a finite number', 'scale');
    },
  },
  gatedActivation: {
    shapes: () => ({ x: ['T', 'W'], out: ['T', 'H'] }),
    check(_, context) {
      const [wide, narrow] = [context.max('W'), context.max('H')];
      context.require(
        wide === 2 * narrow,
        `${wide} columns of x`,
        `${2 * narrow} (gate and up, out has ${narrow})`,
        'x',
      );
    },
  },
  add: { shapes: () => ({ a: ['T', 'H'], b: ['T', 'H'], out: ['T', 'H'] }) },
  gatherRows: { shapes: () => ({ x: ['T', 'H'], samples, out: ['S', 'H'] }) },
  copyBlocks: { shapes: () => ({ kCache: ['B', 'H', 'L', 'D'], vCache: ['B', 'H', 'L', 'D'], pairs: ['C', 2] }) },
  zeroBlocks: { shapes: () => ({ kCache: ['B', 'H', 'L', 'D'], vCache: ['B', 'H', 'L', 'D'], blocks: ['C'] }) },
  penalties: {
    shapes: () => ({ logits, samples, rows: rowState.rows, tokenIds: rowState.tokenIds, out: logits }),
  },
  biasLogits: { shapes: () => ({ logits, samples, rows: rowState.rows, biases: ['M', 'W'], out: logits }) },
  filterLogits: { shapes: () => ({ logits, samples, rows: rowState.rows, thresholds: ['S'] }) },
  sample: { shapes: () => ({ logits, thresholds: ['S'], samples, rows: rowState.rows, sampled }) },
  argmax: { shapes: () => ({ logits, samples, sampled }) },
  logProbs: {
    shapes: op => ({ logits, samples, sampled, logprobs: ['S', 1 + op.topN], logprobIds: ['S', 2 + op.topN] }),
    check(op, context) {
      notNegative(context, op, 'topN');
      context.require(
        op.topN <= context.max('V'),
        `${op.topN}`,
        `at most the vocabulary (${context.max('V')})`,
        'topN',
      );
    },
  },
} satisfies { readonly [K in OpName]: Rule<K> };

function heads(context: RuleContext, op: { heads: number; kvHeads: number; headDim: number }): void {
  positive(context, op, 'heads');
  positive(context, op, 'kvHeads');
  positive(context, op, 'headDim');
  context.require(op.kvHeads <= op.heads, `${op.kvHeads}`, `at most heads (${op.heads})`, 'kvHeads');
}

/** The batch tensor has a header and one record for each sequence that the program may run. */
function batchHolds(context: RuleContext): void {
  const records = context.max('B');
  const needed = 1 + context.max('Q');
  context.require(
    records >= needed,
    `${records} records`,
    `at least ${needed} (a header and one per sequence)`,
    'batch',
  );
}

function epsilon(context: RuleContext, eps: number): void {
  context.require(Number.isFinite(eps) && eps >= 0, `${eps}`, '0 or a positive number', 'eps');
}

function positive<F extends string>(context: RuleContext, op: Readonly<Record<F, number>>, field: F): void {
  context.require(Number.isInteger(op[field]) && op[field] > 0, `${op[field]}`, 'a positive integer', field);
}

function notNegative<F extends string>(context: RuleContext, op: Readonly<Record<F, number>>, field: F): void {
  context.require(Number.isInteger(op[field]) && op[field] >= 0, `${op[field]}`, 'an integer of 0 or more', field);
}
