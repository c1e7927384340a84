import {
  type AttentionShape,
  BATCH_WORDS,
  type HeadNorms,
  MAX_LORA_SLICES,
  type OpName,
  type OpOf,
  ROW_WORDS,
  SAMPLE_WORDS,
  SEQUENCE_WORDS,
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

/** How a rule complains: of a field that names a tensor, of an attribute, or of the op. */
export interface Requirer {
  require(holds: boolean, found: string, expected: string, field?: string): void;
}

/** What the shapes have given. */
export interface RuleContext extends Requirer {
  /** The dimension that a variable stands for, in elements at maxSizes. */
  max(variable: Variable): number;
}

/** Shapes of an op's tensors, and what else must hold. Rows come from the shapes, so any of the step's sizes may lead. */
export interface Rule<K extends OpName> {
  /** Runs first: attributes that are wrong in themselves. */
  attributes?(op: OpOf<K>, context: Requirer): void;
  shapes(op: OpOf<K>): Readonly<Record<TensorField<K>, Pattern>>;
  /** Runs last: what must hold between dimensions. */
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
const normShapes = (op: { headDim: number }) => ({ qNorm: [op.headDim], kNorm: [op.headDim] }) as const;
const caches = (op: AttentionShape) => {
  const cache: Pattern = ['B', op.kvHeads, op.blockSize, op.headDim];
  const scales: Pattern = ['B', op.kvHeads, op.blockSize];
  return { kCache: cache, vCache: cache, kScales: scales, vScales: scales };
};
const anyCaches = {
  kCache: ['B', 'H', 'L', 'D'],
  vCache: ['B', 'H', 'L', 'D'],
  kScales: ['B', 'H', 'L'],
  vScales: ['B', 'H', 'L'],
} as const satisfies Record<string, Pattern>;

export const rules = {
  applyRowDelta: { shapes: () => ({ delta: ['D'], biases: ['M', 'W'], ...rowState }) },
  prepareInputs: {
    attributes: (op, context) => positive(context, op, 'blockSize'),
    shapes: () => ({ ...rowState, inputIds: ['T'], positions: ['T'], slotMapping: ['T'], sequences }),
    check: (_, context) => batchHolds(context),
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
    attributes(op, context) {
      context.require(Number.isInteger(op.offset), `${op.offset}`, 'an integer', 'offset');
      notNegative(context, op, 'firstRow');
    },
    shapes: () => ({ ids: ['T'], table: ['R', 'H'], out: ['T', 'H'] }),
  },
  vocabParallelEmbed: {
    attributes(op, context) {
      positive(context, op, 'rowsPerRank');
      notNegative(context, op, 'firstRow');
    },
    shapes: () => ({ ids: ['T'], table: ['R', 'H'], out: ['T', 'H'] }),
    check(op, context) {
      const end = op.firstRow + context.max('R');
      context.require(
        end <= op.rowsPerRank,
        `rows ${op.firstRow} .. ${end}`,
        `rows within 0 .. ${op.rowsPerRank}`,
        'table',
      );
    },
  },
  rmsNorm: {
    attributes(op, context) {
      epsilon(context, op.eps);
      const both = (op.residual === undefined) === (op.sum === undefined);
      const found = op.sum === undefined ? 'residual alone' : 'sum alone';
      context.require(both, found, 'residual and sum, or neither of them');
    },
    shapes: () => ({ x: ['T', 'H'], weight: ['H'], residual: ['T', 'H'], sum: ['T', 'H'], out: ['T', 'H'] }),
  },
  layerNorm: {
    attributes: (op, context) => epsilon(context, op.eps),
    shapes: () => ({ x: ['T', 'H'], weight: ['H'], bias: ['H'], out: ['T', 'H'] }),
  },
  linear: {
    attributes: (op, context) => notNegative(context, op, 'outColumn'),
    shapes: () => ({ x: ['T', 'K'], weight: ['N', 'K'], bias: ['N'], residual: ['T', 'W'], out: ['T', 'W'] }),
    check(op, context) {
      const [end, width] = [op.outColumn + context.max('N'), context.max('W')];
      context.require(end <= width, `columns ${op.outColumn} .. ${end}`, `columns within 0 .. ${width}`, 'out');
    },
  },
  gatedLinear: {
    shapes: () => ({ x: ['T', 'K'], weight: ['N', 'K'], bias: ['N'], out: ['T', 'H'] }),
    check(_, context) {
      const [rows, columns] = [context.max('N'), context.max('H')];
      const expected = `${2 * columns} (gates and ups, out has ${columns} columns)`;
      context.require(rows === 2 * columns, `${rows} rows`, expected, 'weight');
    },
  },
  moeRoute: {
    shapes: () => ({ logits: ['T', 'N'], experts: ['T', 'K'], shares: ['T', 'K'] }),
    check(_, context) {
      const [chosen, all] = [context.max('K'), context.max('N')];
      context.require(chosen <= all, `${chosen} experts`, `at most all (${all})`, 'experts');
    },
  },
  groupedLinear: {
    attributes(op, context) {
      notNegative(context, op, 'firstExpert');
      const plain = op.shares === undefined || op.activation === 'none';
      context.require(plain, op.activation, 'none, where shares are given', 'activation');
      const alone = op.residual === undefined || op.shares !== undefined;
      context.require(alone, 'residual', 'none, where no shares are given', 'residual');
    },
    shapes: () => ({
      x: ['T', 'K'],
      experts: ['T', 'C'],
      weight: ['N', 'D'],
      shares: ['T', 'C'],
      residual: ['T', 'W'],
      out: ['T', 'W'],
    }),
    check(op, context) {
      const [chosen, depth, width] = [context.max('C'), context.max('D'), context.max('W')];
      const sums = op.shares !== undefined;
      const whole = sums || width % chosen === 0;
      context.require(whole, `${width} columns`, `a multiple of ${chosen} experts`, 'out');
      const [inputs, rows] = sums ? [chosen * depth, width] : [depth, (2 * width) / chosen];
      const found = context.max('K');
      context.require(found === inputs, `${found} columns`, `${inputs} (for ${chosen} experts of a token)`, 'x');
      const total = context.max('N');
      context.require(total % rows === 0, `${total} rows`, `a multiple of ${rows}, those of an expert`, 'weight');
    },
  },
  prepareAdapters: { shapes: () => ({ sequences, rows: rowState.rows, adapters: ['T'] }) },
  loraLinear: {
    attributes({ sliceColumns }, context) {
      const fits = sliceColumns.length > 0 && sliceColumns.length <= MAX_LORA_SLICES;
      context.require(fits, `${sliceColumns.length} slices`, `1 to ${MAX_LORA_SLICES}`, 'sliceColumns');
      const whole = sliceColumns.every(columns => Number.isInteger(columns) && columns > 0);
      context.require(whole, `[${sliceColumns.join(', ')}]`, 'positive integers', 'sliceColumns');
    },
    shapes: () => ({
      x: ['T', 'K'],
      adapters: ['T'],
      a: ['A', 'R', 'K'],
      b: ['A', 'N', 'P'],
      scales: ['A', 'C'],
      hidden: ['T', 'R'],
      out: ['T', 'N'],
    }),
    check({ sliceColumns }, context) {
      const slices = sliceColumns.length;
      const [rank, rows] = [context.max('P'), context.max('R')];
      const expected = `${slices * rank} (${slices} slices of rank ${rank})`;
      context.require(rows === slices * rank, `${rows} rows of a slot`, expected, 'a');
      context.require(
        context.max('C') === slices,
        `${context.max('C')} of a slot`,
        `${slices}, one per slice`,
        'scales',
      );
      const columns = sliceColumns.reduce((sum, part) => sum + part, 0);
      const width = context.max('N');
      context.require(columns === width, `${columns} columns`, `those of out (${width})`, 'sliceColumns');
    },
  },
  rope: {
    attributes(op, context) {
      heads(context, op);
      rotary(context, op);
      headNorms(context, op);
    },
    shapes: op => ({ qkv: qkv(op), positions: ['T'], table: ['P', op.rotaryDim], ...normShapes(op) }),
  },
  kvWrite: {
    attributes(op, context) {
      heads(context, op);
      positive(context, op, 'blockSize');
    },
    shapes: op => ({ qkv: qkv(op), slotMapping: ['T'], ...caches(op) }),
  },
  ropeKvWrite: {
    attributes(op, context) {
      heads(context, op);
      rotary(context, op);
      headNorms(context, op);
      positive(context, op, 'blockSize');
    },
    shapes: op => ({
      qkv: qkv(op),
      positions: ['T'],
      table: ['P', op.rotaryDim],
      ...normShapes(op),
      slotMapping: ['T'],
      ...caches(op),
    }),
  },
  pagedAttention: {
    attributes(op, context) {
      heads(context, op);
      positive(context, op, 'blockSize');
      notNegative(context, op, 'window');
      softCap(context, op.softCap);
      context.require(Number.isFinite(op.scale), `${op.scale}`, 'a finite number', 'scale');
    },
    shapes: op => ({
      qkv: qkv(op),
      ...caches(op),
      sequences,
      blockTables: ['M', 'N'],
      out: ['T', op.heads * op.headDim],
    }),
  },
  gatedActivation: {
    shapes: () => ({ x: ['T', 'W'], out: ['T', 'H'] }),
    check(_, context) {
      const [wide, narrow] = [context.max('W'), context.max('H')];
      const expected = `${2 * narrow} (gate and up, out has ${narrow})`;
      context.require(wide === 2 * narrow, `${wide} columns`, expected, 'x');
    },
  },
  add: { shapes: () => ({ a: ['T', 'H'], b: ['T', 'H'], out: ['T', 'H'] }) },
  allReduce: { shapes: () => ({ x: ['T', 'H'], residual: ['T', 'H'], out: ['T', 'H'] }) },
  allGather: {
    shapes: () => ({ x: ['T', 'W'], out: ['T', 'H'] }),
    check(_, context) {
      const [part, whole] = [context.max('W'), context.max('H')];
      context.require(part <= whole, `${part} columns`, `at most the width of out (${whole})`, 'x');
    },
  },
  send: { attributes: (op, context) => notNegative(context, op, 'toStage'), shapes: () => ({ x: ['T', 'H'] }) },
  recv: { attributes: (op, context) => notNegative(context, op, 'fromStage'), shapes: () => ({ out: ['T', 'H'] }) },
  broadcast: { attributes: (op, context) => notNegative(context, op, 'fromStage'), shapes: () => ({ x: ['S', 'W'] }) },
  scale: {
    attributes(op, context) {
      softCap(context, op.softCap);
      context.require(Number.isFinite(op.factor), `${op.factor}`, 'a finite number', 'factor');
    },
    shapes: () => ({ x: ['T', 'H'], out: ['T', 'H'] }),
  },
  normColumns: {
    attributes(op, context) {
      epsilon(context, op.eps);
      notNegative(context, op, 'column');
    },
    shapes: () => ({ x: ['T', 'H'], weight: ['N'] }),
    check(op, context) {
      const [end, width] = [op.column + context.max('N'), context.max('H')];
      context.require(end <= width, `columns ${op.column} .. ${end}`, `columns within 0 .. ${width}`, 'weight');
    },
  },
  pool: { shapes: () => ({ x: ['T', 'H'], sequences, out: ['M', 'H'] }) },
  gatherRows: { shapes: () => ({ x: ['T', 'H'], samples, out: ['S', 'H'] }) },
  copyBlocks: { shapes: () => ({ ...anyCaches, pairs: ['C', 2] }) },
  zeroBlocks: { shapes: () => ({ ...anyCaches, blocks: ['C'] }) },
  penalties: {
    shapes: () => ({ logits, samples, rows: rowState.rows, tokenIds: rowState.tokenIds, out: logits }),
  },
  biasLogits: { shapes: () => ({ logits, samples, rows: rowState.rows, biases: ['M', 'W'], out: logits }) },
  maskLogits: {
    shapes: () => ({ logits, samples, rows: rowState.rows, masks: ['M', 'W'], out: logits }),
    check(_, context) {
      const [words, vocabulary] = [context.max('W'), context.max('V')];
      const expected = `${Math.ceil(vocabulary / 32)} (a bit for each of ${vocabulary} ids)`;
      context.require(words === Math.ceil(vocabulary / 32), `${words} words`, expected, 'masks');
    },
  },
  filterLogits: { shapes: () => ({ logits, samples, rows: rowState.rows, thresholds: ['S'] }) },
  sample: { shapes: () => ({ logits, thresholds: ['S'], samples, rows: rowState.rows, sampled }) },
  argmax: { shapes: () => ({ logits, samples, sampled }) },
  logProbs: {
    attributes: (op, context) => notNegative(context, op, 'topN'),
    shapes: op => ({ logits, samples, sampled, logprobs: ['S', 1 + op.topN], logprobIds: ['S', 2 + op.topN] }),
    check(op, context) {
      const vocabulary = context.max('V');
      context.require(op.topN <= vocabulary, `${op.topN}`, `at most the vocabulary (${vocabulary})`, 'topN');
    },
  },
} satisfies { readonly [K in OpName]: Rule<K> };

function heads(context: Requirer, op: { heads: number; kvHeads: number; headDim: number }): void {
  positive(context, op, 'heads');
  positive(context, op, 'kvHeads');
  positive(context, op, 'headDim');
  context.require(op.kvHeads <= op.heads, `${op.kvHeads}`, `at most heads (${op.heads})`, 'kvHeads');
}

function rotary(context: Requirer, { rotaryDim, headDim }: { rotaryDim: number; headDim: number }): void {
  const fits = rotaryDim > 0 && rotaryDim % 2 === 0 && rotaryDim <= headDim;
  context.require(fits, `${rotaryDim}`, `an even number up to headDim (${headDim})`, 'rotaryDim');
}

function headNorms(context: Requirer, { qNorm, kNorm, normEps }: HeadNorms): void {
  const given = Object.entries({ qNorm, kNorm, normEps }).filter(([, value]) => value !== undefined);
  const found = given.map(([field]) => field).join(' and ');
  context.require(given.length === 0 || given.length === 3, found, 'qNorm, kNorm and normEps, or none of them');
  if (normEps !== undefined) epsilon(context, normEps, 'normEps');
}

/** The batch tensor has a header and one record for each sequence that the program may run. */
function batchHolds(context: RuleContext): void {
  const [records, needed] = [context.max('B'), 1 + context.max('Q')];
  const expected = `at least ${needed} (a header and one per sequence)`;
  context.require(records >= needed, `${records} records`, expected, 'batch');
}

function epsilon(context: Requirer, eps: number, field = 'eps'): void {
  context.require(Number.isFinite(eps) && eps >= 0, `${eps}`, '0 or a positive number', field);
}

function softCap(context: Requirer, cap: number): void {
  context.require(cap >= 0 && Number.isFinite(cap), `${cap}`, '0 or a positive number', 'softCap');
}

function positive<F extends string>(context: Requirer, op: Readonly<Record<F, number>>, field: F): void {
  context.require(Number.isInteger(op[field]) && op[field] > 0, `${op[field]}`, 'a positive integer', field);
}

function notNegative<F extends string>(context: Requirer, op: Readonly<Record<F, number>>, field: F): void {
  context.require(Number.isInteger(op[field]) && op[field] >= 0, `${op[field]}`, 'an integer of 0 or more', field);
}
