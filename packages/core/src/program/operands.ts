import type { Op, OpCatalogue, OpName, TensorName } from '../contract/contract.ts';

/** Fields of an op that name a tensor. */
export type TensorField<K extends OpName> = {
  [F in keyof OpCatalogue[K]]-?: string extends NonNullable<OpCatalogue[K][F]> ? F & string : never;
}[keyof OpCatalogue[K]];

/**
 * What a tensor is to an op. `activation`, `weight` and `kv` tensors are what a device's dtype table speaks of: within one
 * op, all weights share a dtype, both caches do, and all activations do (except that linear may widen its output to f32).
 * The others have one dtype: `u32` for indices and records, `f32` for tables, logits and what is made of them.
 */
export type Role = 'activation' | 'weight' | 'kv' | 'u32' | 'f32';

export interface Operand {
  readonly role: Role;
  /** `update` is read and written in place. A `write` may leave elements as they are. */
  readonly access: 'read' | 'write' | 'update';
  readonly optional?: true;
  /** The read field whose tensor this written one may be. */
  readonly inPlaceOf?: string;
}

const read = <R extends Role>(role: R) => ({ role, access: 'read' }) as const;
const write = <R extends Role>(role: R) => ({ role, access: 'write' }) as const;
const update = <R extends Role>(role: R) => ({ role, access: 'update' }) as const;
/** A written tensor that may be the one of a field that the op reads. */
const writeOver = <R extends Role>(role: R, inPlaceOf: string) => ({ role, access: 'write', inPlaceOf }) as const;
const optional = <O extends Operand>(operand: O) => ({ ...operand, optional: true }) as const;

const stateOperands = { rows: read('u32'), tokenIds: read('u32') };
/** Weights of HeadNorms. */
const normOperands = { qNorm: optional(read('weight')), kNorm: optional(read('weight')) };
const cacheOperands = {
  kCache: write('kv'),
  vCache: write('kv'),
  kScales: optional(write('f32')),
  vScales: optional(write('f32')),
};

/** The tensors of every op: this table alone says which ones are read, written, activations, weights and caches. */
export const operandTable = {
  applyRowDelta: {
    delta: read('u32'),
    rows: write('u32'),
    blockTables: write('u32'),
    tokenIds: write('u32'),
    batch: write('u32'),
    biases: write('u32'),
  },
  prepareInputs: {
    batch: update('u32'),
    ...stateOperands,
    blockTables: read('u32'),
    inputIds: write('u32'),
    positions: write('u32'),
    slotMapping: write('u32'),
    sequences: write('u32'),
  },
  prepareSamples: {
    batch: read('u32'),
    sequences: read('u32'),
    tokenIds: read('u32'),
    samples: write('u32'),
  },
  advanceRows: {
    batch: read('u32'),
    sequences: read('u32'),
    samples: read('u32'),
    sampled: read('u32'),
    rows: update('u32'),
    tokenIds: write('u32'),
    ring: write('u32'),
  },
  embed: { ids: read('u32'), table: read('weight'), out: write('activation') },
  vocabParallelEmbed: { ids: read('u32'), table: read('weight'), out: write('activation') },
  rmsNorm: {
    x: read('activation'),
    weight: read('weight'),
    residual: optional(read('activation')),
    sum: optional(writeOver('activation', 'residual')),
    out: write('activation'),
  },
  layerNorm: {
    x: read('activation'),
    weight: read('weight'),
    bias: optional(read('weight')),
    out: write('activation'),
  },
  linear: {
    x: read('activation'),
    weight: read('weight'),
    bias: optional(read('weight')),
    residual: optional(read('activation')),
    out: writeOver('activation', 'residual'),
  },
  gatedLinear: {
    x: read('activation'),
    weight: read('weight'),
    bias: optional(read('weight')),
    out: write('activation'),
  },
  moeRoute: { logits: read('f32'), experts: write('u32'), shares: write('f32') },
  groupedLinear: {
    x: read('activation'),
    experts: read('u32'),
    weight: read('weight'),
    shares: optional(read('f32')),
    residual: optional(read('activation')),
    out: writeOver('activation', 'residual'),
  },
  prepareAdapters: { sequences: read('u32'), rows: read('u32'), adapters: write('u32') },
  loraLinear: {
    x: read('activation'),
    adapters: read('u32'),
    a: read('weight'),
    b: read('weight'),
    scales: read('f32'),
    hidden: write('f32'),
    out: update('activation'),
  },
  rope: { qkv: update('activation'), positions: read('u32'), table: read('f32'), ...normOperands },
  kvWrite: { qkv: read('activation'), slotMapping: read('u32'), ...cacheOperands },
  ropeKvWrite: {
    qkv: update('activation'),
    positions: read('u32'),
    table: read('f32'),
    ...normOperands,
    slotMapping: read('u32'),
    ...cacheOperands,
  },
  pagedAttention: {
    qkv: read('activation'),
    kCache: read('kv'),
    vCache: read('kv'),
    kScales: optional(read('f32')),
    vScales: optional(read('f32')),
    sequences: read('u32'),
    blockTables: read('u32'),
    out: write('activation'),
  },
  gatedActivation: { x: read('activation'), out: write('activation') },
  add: { a: read('activation'), b: read('activation'), out: writeOver('activation', 'a') },
  allReduce: {
    x: read('activation'),
    residual: optional(read('activation')),
    out: writeOver('activation', 'x'),
  },
  allGather: { x: read('activation'), out: write('activation') },
  send: { x: read('activation') },
  recv: { out: write('activation') },
  // Only the stage that it comes from has written it before.
  broadcast: { x: write('u32') },
  scale: { x: read('activation'), out: writeOver('activation', 'x') },
  normColumns: { x: update('activation'), weight: read('weight') },
  pool: { x: read('activation'), sequences: read('u32'), out: update('f32') },
  gatherRows: { x: read('activation'), samples: read('u32'), out: write('activation') },
  copyBlocks: {
    kCache: update('kv'),
    vCache: update('kv'),
    kScales: optional(update('f32')),
    vScales: optional(update('f32')),
    pairs: read('u32'),
  },
  zeroBlocks: { ...cacheOperands, blocks: read('u32') },
  penalties: { logits: read('f32'), samples: read('u32'), ...stateOperands, out: writeOver('f32', 'logits') },
  biasLogits: {
    logits: read('f32'),
    samples: read('u32'),
    rows: read('u32'),
    biases: read('u32'),
    out: writeOver('f32', 'logits'),
  },
  maskLogits: {
    logits: read('f32'),
    samples: read('u32'),
    rows: read('u32'),
    masks: read('u32'),
    out: writeOver('f32', 'logits'),
  },
  filterLogits: { logits: read('f32'), samples: read('u32'), rows: read('u32'), thresholds: write('f32') },
  sample: {
    logits: read('f32'),
    thresholds: read('f32'),
    samples: read('u32'),
    rows: read('u32'),
    sampled: write('u32'),
  },
  argmax: { logits: read('f32'), samples: read('u32'), sampled: write('u32') },
  logProbs: {
    logits: read('f32'),
    samples: read('u32'),
    sampled: read('u32'),
    logprobs: write('f32'),
    logprobIds: write('u32'),
  },
} as const satisfies { readonly [K in OpName]: { readonly [F in TensorField<K>]: Operand } };

/** A tensor of one op: the field that names it, its name, and what the op does with it. */
export interface OpTensor {
  readonly field: string;
  readonly name: TensorName;
  readonly operand: Operand;
}

/** The tensors that an op names, in the order of the table. Optional ones that are absent are left out. */
export function opTensors(op: Op): OpTensor[] {
  const fields = op as unknown as Readonly<Record<string, unknown>>;
  const table: Readonly<Record<string, Operand>> = operandTable[op.op];
  const tensors: OpTensor[] = [];
  for (const [field, operand] of Object.entries(table)) {
    const name = fields[field];
    if (typeof name === 'string') tensors.push({ field, name, operand });
  }
  return tensors;
}
