/**
 * The contract between the engine and a device.
 *
 * A model is data: a `Program` of typed operations on named tensors. A backend compiles a Program once and runs it every
 * step. Nothing else crosses the boundary. This folder imports nothing else and names no backend.
 *
 * Conventions: shapes are row-major, the last dimension is contiguous. All sizes are in elements unless a name says bytes.
 */

// ---------------------------------------------------------------------------------------------------------------- dtypes

import type { DType } from './dtypes.ts';

export * from './dtypes.ts';

export type TypedArray = Float32Array | Uint32Array | Int32Array | Uint16Array | Uint8Array;

// --------------------------------------------------------------------------------------------------------------- tensors

/** A tensor that the device holds for the caller. */
export interface TensorSpec {
  /** Shown in errors and in memory listings. */
  name: string;
  dtype: DType;
  shape: readonly number[];
  /** The stage of a pipeline that holds it. Absent: every one does. */
  stage?: number;
  /** `kvCache` tensors are `[block][kvHead][slot][headDim]`, their scales `[block][kvHead][slot]`; they take part in `Device.transfer`, in creation order. */
  usage: 'weight' | 'kvCache' | 'state';
}

/** A device allocation. Freed only by `dispose`; contents are zero after `createTensor`. */
export interface DeviceTensor {
  readonly spec: TensorSpec;
  readonly bytes: number;
  dispose(): void;
}

/** A tensor inside a Program. `external` tensors are bound at compile; `temporary` ones are placed by the memory plan. */
export interface ProgramTensor {
  dtype: DType;
  shape: readonly Dim[];
  kind: 'external' | 'temporary';
}

import type { FileRows } from './file-rows.ts';
import type { Activation, AttentionShape, CacheScales, HeadNorms, TensorName } from './op-attributes.ts';
import type { Dim, StepSizes } from './sizes.ts';

export * from './communicator.ts';
export * from './file-rows.ts';
export * from './op-attributes.ts';
export * from './row-state.ts';
export * from './sizes.ts';

// ------------------------------------------------------------------------------------------------------------- operations

/**
 * The op catalogue: closed and typed. Names of tensors are strings into `Program.tensors`; everything else is an attribute.
 * `qkv` is the fused projection [tokens, (heads + 2 kvHeads) headDim]: queries, then keys, then values.
 */
export interface OpCatalogue {
  /** Scatters the segments of `delta` into the row state. */
  applyRowDelta: {
    delta: TensorName;
    rows: TensorName;
    blockTables: TensorName;
    tokenIds: TensorName;
    batch: TensorName;
    biases: TensorName;
  };
  /**
   * From the batch and the row state, derives for every token of the step its id, position and cache slot, and for every
   * sequence its record. Sequence i is live iff numComputed + queryLen <= min(numTokens, blockCredit) and it would not sample
   * beyond its limit (sampleCount > 0, numComputed + queryLen = numTokens, numTokens >= tokenLimit). Tokens of spent sequences
   * and padding (token index >= header.numTokens) get id 0, position 0, slot NONE. Sequence records beyond header.numSequences get
   * contextLen 0, queryLen 0, sampleCount 0 (all words 0); the record of a spent sequence has contextLen 0 and its other words as
   * those of a live one. Adds 1 to header.stepCounter.
   * slot = blockTable[position / blockSize] * blockSize + position % blockSize.
   */
  prepareInputs: {
    batch: TensorName;
    rows: TensorName;
    tokenIds: TensorName;
    blockTables: TensorName;
    /** u32 [tokens] */
    inputIds: TensorName;
    /** u32 [tokens] */
    positions: TensorName;
    /** u32 [tokens]; NONE for padding */
    slotMapping: TensorName;
    /** u32 [sequences, SEQUENCE_WORDS] */
    sequences: TensorName;
    blockSize: number;
  };
  /**
   * Fills `samples` from the sequences: sample sampleStart + j of a sequence is its query token queryLen - sampleCount + j,
   * and predicts the position after that token's. target is the row's token id there when position < numTokens, else NONE.
   * Spent sequences and padding (index >= header.numSamples) get token 0, row NONE, position 0, target NONE.
   */
  prepareSamples: { batch: TensorName; sequences: TensorName; tokenIds: TensorName; samples: TensorName };
  /**
   * After sampling: for each live sequence numComputed += queryLen; if its last sample has no target, writes the sampled id
   * to tokenIds[row][numTokens] and adds 1 to numTokens. Writes (id, flags) of the last sample to
   * ring[(stepCounter - 1) % ringSlots][row]; (NONE, 0) for a spent row that was to be sampled.
   */
  advanceRows: {
    batch: TensorName;
    sequences: TensorName;
    samples: TensorName;
    sampled: TensorName;
    rows: TensorName;
    tokenIds: TensorName;
    ring: TensorName;
  };
  /**
   * out[t] = table[ids[t] + offset - firstRow] for ids[t] + offset in [firstRow, firstRow + rows of table); other rows of out
   * are left as they are. Row parts of a table above the device's limits are several embed ops on one `out`.
   */
  embed: { ids: TensorName; table: TensorName; out: TensorName; offset: number; firstRow: number };
  /**
   * With residual: sum = x + residual (rounded to its dtype), out = rmsNorm(sum) * weight; `sum` may be `residual` itself.
   * residual and sum come together or not at all.
   */
  rmsNorm: { x: TensorName; weight: TensorName; out: TensorName; eps: number; residual?: TensorName; sum?: TensorName };
  layerNorm: { x: TensorName; weight: TensorName; bias?: TensorName; out: TensorName; eps: number };
  /**
   * out[r][outColumn + n] = activation(sum_k x[r][k] weight[n][k] + bias[n]) + residual[r][outColumn + n].
   * weight [N, K] in the canonical layout of its dtype (dtypes.ts); a bias has that dtype, or any float where the weight is
   * quantised. `out` may be `residual` itself. Row parts of a weight above the
   * device's limits are several linear ops on one `out`. Rows: the first dimension of `out` at the step's sizes.
   */
  linear: {
    x: TensorName;
    weight: TensorName;
    out: TensorName;
    bias?: TensorName;
    residual?: TensorName;
    activation: Activation;
    outColumn: number;
  };
  /**
   * A linear layer and a gatedActivation in one: with [gate, up] = x weight^T + bias, out [rows, n] = activation(gate) * up.
   * weight [2 n, K] has the rows of the gates, then those of the ups. Neither product is rounded to a dtype.
   */
  gatedLinear: { x: TensorName; weight: TensorName; out: TensorName; bias?: TensorName; activation: Activation };
  /**
   * Which experts of a mixture compute a token (Shazeer et al. 2017): those of the largest logits, in falling order, ties to the lowest
   * id. logits f32 [tokens, all experts]; experts u32 [tokens, chosen]; shares f32 [tokens, chosen] = softmax of the logits at the
   * chosen experts, over all of them, or with `normalize` over the chosen ones. With NaN among the logits, experts are any.
   */
  moeRoute: { logits: TensorName; experts: TensorName; shares: TensorName; normalize: boolean };
  /**
   * The linear layers of the experts of each token. weight holds those of experts firstExpert, firstExpert + 1, ... one below the
   * other; what other experts would compute is left out, so that row parts of a weight are several ops.
   *
   * Without shares, x [tokens, K], out [tokens, chosen n], and 2 n rows of weight per expert, the gates, then the ups: with
   * [gate, up] = x[t] (rows of experts[t][j])^T, block j of out[t] = activation(gate) * up; blocks of other experts stay as they are.
   *
   * With shares, x [tokens, chosen K], out [tokens, N], and N rows of weight per expert: out[t] = residual[t] + the sum over j, in
   * order, of shares[t][j] (block j of x[t]) (rows of experts[t][j])^T. `out` may be `residual` itself; activation is none.
   */
  groupedLinear: {
    x: TensorName;
    experts: TensorName;
    weight: TensorName;
    out: TensorName;
    shares?: TensorName;
    residual?: TensorName;
    activation: Activation;
    firstExpert: number;
  };
  /** adapters[t] = the adapter (see `Row`) of the row that token t belongs to; NONE for tokens of spent sequences and padding. */
  prepareAdapters: { sequences: TensorName; rows: TensorName; adapters: TensorName };
  /**
   * Low-rank adapters of a linear layer (Hu et al. 2021), several in one batch: what the layer of each token's adapter adds. The columns
   * of out are slices, each with matrices of its own: slice j has sliceColumns[j] of them. With s = adapters[t], and for every slice j:
   *
   *   hidden[t][j rank + r] = sum_k x[t][k] a[s][j rank + r][k]
   *   out[t][n] += scales[s][j] sum_r b[s][n][r] hidden[t][j rank + r]      for n in slice j
   *
   * x [tokens, K], a [slots, slices rank, K], b [slots, N, rank], scales f32 [slots, slices], hidden f32 [tokens, slices rank], out
   * [tokens, N]. One to MAX_LORA_SLICES slices. Where a token has no adapter (NONE), its rows of hidden and
   * out stay as they are.
   */
  loraLinear: {
    x: TensorName;
    adapters: TensorName;
    a: TensorName;
    b: TensorName;
    scales: TensorName;
    hidden: TensorName;
    out: TensorName;
    sliceColumns: readonly number[];
  };
  /**
   * Rotates queries and keys of qkv in place by position. table f32 [positions, rotaryDim]: rotaryDim / 2 cosines, then as
   * many sines, made on the host. Pairs are (i, i + rotaryDim / 2), or (2 i, 2 i + 1) when interleaved.
   */
  rope: {
    qkv: TensorName;
    positions: TensorName;
    table: TensorName;
    heads: number;
    kvHeads: number;
    headDim: number;
    rotaryDim: number;
    interleaved: boolean;
  } & HeadNorms;
  /** Writes keys and values of qkv to their cache slots; slot NONE is skipped. Caches are [blocks, kvHeads, blockSize, headDim]. */
  kvWrite: { qkv: TensorName; slotMapping: TensorName; kCache: TensorName; vCache: TensorName } & CacheScales &
    AttentionShape;
  /** rope, then kvWrite: the cache gets the keys as they lie in qkv once rotated. Slot NONE is rotated, and not written. */
  ropeKvWrite: {
    qkv: TensorName;
    positions: TensorName;
    table: TensorName;
    slotMapping: TensorName;
    kCache: TensorName;
    vCache: TensorName;
    rotaryDim: number;
    interleaved: boolean;
  } & AttentionShape &
    CacheScales &
    HeadNorms;
  /**
   * Causal attention of each sequence's queries over its cached context through the block table: query token j of a sequence
   * sees positions 0 .. firstPosition + j. out [tokens, heads * headDim]; rows of spent sequences and padding become 0.
   * Query head h reads KV head floor(h * kvHeads / heads).
   * window: only the last `window` positions are visible (0: all). softCap: scores become cap * tanh(score / cap) (0: off).
   */
  pagedAttention: {
    qkv: TensorName;
    kCache: TensorName;
    vCache: TensorName;
    sequences: TensorName;
    blockTables: TensorName;
    out: TensorName;
    scale: number;
    window: number;
    softCap: number;
  } & CacheScales &
    AttentionShape;
  /**
   * An embedding table divided among the ranks of a group: rank r holds rows [r rowsPerRank, (r + 1) rowsPerRank), and `table` is
   * those of them from firstRow on. out[t] = row ids[t] where `table` has it, and 0 where another rank has it, so that allReduce
   * makes the rows whole; where another part of this rank's rows has it, out stays as it is.
   */
  vocabParallelEmbed: { ids: TensorName; table: TensorName; out: TensorName; rowsPerRank: number; firstRow: number };
  /**
   * out = residual + the sum of x over the ranks of the group, added in the order of the ranks, so that every rank gets the same
   * bits. `out` may be `x`. A device that is alone is a group of one.
   */
  allReduce: { x: TensorName; residual?: TensorName; out: TensorName };
  /**
   * Puts the columns of all ranks side by side: out[t][r W + i] = x[t][i] of rank r, W the width of x. Columns beyond the width of
   * out are the padding of the last ranks and are dropped.
   */
  allGather: { x: TensorName; out: TensorName };
  /** Hands x to another stage of a pipeline, whose recv takes it. */
  send: { x: TensorName; toStage: number };
  /** out = the x that another stage sends, in the order of its sends. */
  recv: { out: TensorName; fromStage: number };
  /** x, u32, of one stage becomes that of all. */
  broadcast: { x: TensorName; fromStage: number };
  /** x [tokens, 2 n] = gate then up; out = activation(gate) * up. */
  gatedActivation: { x: TensorName; out: TensorName; activation: Activation };
  /** out = a + b, rounded to out's dtype; `out` may be `a`. */
  add: { a: TensorName; b: TensorName; out: TensorName };
  /** out = factor x, and with a soft cap, softCap tanh(factor x / softCap) (0: off). `out` may be `x`. */
  scale: { x: TensorName; out: TensorName; factor: number; softCap: number };
  /**
   * RMS norm of some columns of each row, in place: columns [column, column + width of weight) become
   * columns / sqrt(mean(columns^2) + eps) * weight. The others stay as they are.
   */
  normColumns: { x: TensorName; weight: TensorName; eps: number; column: number };
  /**
   * Hidden states of whole sequences. Of each live sequence, `out` f32 [maxRows, H] gets, in its row: with `sum`, the sum of x over
   * its query tokens, added to what is there unless the query begins at position 0; without, x of its last query token.
   */
  pool: { x: TensorName; sequences: TensorName; out: TensorName; sum: boolean };
  /** out[i] = x[samples[i].token] */
  gatherRows: { x: TensorName; samples: TensorName; out: TensorName };
  /** cache[to] = cache[from] for each pair of `pairs` u32 [count, 2]; pairs with NONE are skipped. All pairs read before any writes. */
  copyBlocks: { kCache: TensorName; vCache: TensorName; pairs: TensorName } & CacheScales;
  /** cache[block] = 0 for each entry of `blocks` u32 [count]; NONE is skipped. */
  zeroBlocks: { kCache: TensorName; vCache: TensorName; blocks: TensorName } & CacheScales;
  /**
   * Repetition, then frequency, then presence penalty, each as its row says, on samples without a target.
   * repetition: for tokens in prompt or output, logit > 0 ? logit / r : logit * r. frequency: logit -= f * count in output.
   * presence: logit -= p if count in output > 0. The output of sample s is tokenIds[row][promptTokens .. position).
   * Masked logits (MASKED_LOGIT and below) stay as they are: a penalty would make them infinite. `out` may be `logits`; other
   * samples are copied.
   */
  penalties: { logits: TensorName; samples: TensorName; rows: TensorName; tokenIds: TensorName; out: TensorName };
  /**
   * On samples without a target: adds the row's biases, and sets its stop ids to MASKED_LOGIT while position <
   * minTokensUntil. biases u32 [maxRows, words]: numStopIds ids, then numBiases pairs (id, f32 bits); ids are distinct.
   */
  biasLogits: { logits: TensorName; samples: TensorName; rows: TensorName; biases: TensorName; out: TensorName };
  /**
   * On samples without a target whose row is `masked`: logits of the ids that its mask does not allow become MASKED_LOGIT.
   * masks u32 [maxRows, ceil(vocabulary / 32)]: bit id % 32 of word id / 32 is set where the id may be sampled. `out` may be
   * `logits`; other samples are copied.
   */
  maskLogits: { logits: TensorName; samples: TensorName; rows: TensorName; masks: TensorName; out: TensorName };
  /**
   * thresholds f32 [samples]: the smallest logit that survives min-p, then top-k, then top-p of the row, on
   * temperature-scaled probabilities. Logits equal to the threshold survive, so ties are kept; at least one survives.
   * Greedy rows, rows with no active filter (topK 0 or >= the vocabulary, topP >= 1, minP 0), samples with a target or
   * without a row, and rows with NaN or +infinity get NO_THRESHOLD.
   * With z = (logit - max) / temperature: min-p keeps exp(z) >= minP; top-k keeps logits >= the k-th largest; logits at or
   * below MASKED_LOGIT survive only when there is nothing else. Top-p, over the survivors of these with Z the sum of their
   * exp(z): integer masses m = floor(exp(z) / Z * 2^31), and the threshold is the largest logit t such that the sum of m over
   * logits >= t reaches topP * the sum of all m. A radix select over the ordered bits of the logits finds it, and integer
   * sums do not depend on order.
   */
  filterLogits: { logits: TensorName; samples: TensorName; rows: TensorName; thresholds: TensorName };
  /**
   * sampled u32 [samples, 2] = (token id, flags). Greedy rows: argmax, ties to the lowest id. Others: argmax over surviving
   * logits of logit / temperature + gumbel(row seed, position, token id). Samples with a target return it; a sample without a
   * row gives (NONE, 0). flags: SAMPLE_LIVE, and SAMPLE_FINITE when no logit of the row is NaN or infinite (if not, the id of a
   * sample without a target is any id of the vocabulary).
   * gumbel: Philox 4x32-10 (Salmon et al. 2011), key (seedLow, seedHigh), counter (id >> 2, position, 0, 0), word id & 3 as w;
   * u = min((w + 0.5) 2^-32, 1 - 2^-24); e = u < 2^-10 ? u (1 + u (1/2 + u/3)) : -log(1 - u); gumbel = -log(e).
   */
  sample: { logits: TensorName; thresholds: TensorName; samples: TensorName; rows: TensorName; sampled: TensorName };
  /** The same for a batch in which every row is greedy. */
  argmax: { logits: TensorName; samples: TensorName; sampled: TensorName };
  /**
   * Log-softmax of each sample's logits: logprobs f32 [samples, 1 + topN] = chosen token, then the topN largest in order
   * (ties to the lowest id); logprobIds u32 [samples, 2 + topN] = chosen id, its rank (1 + number of strictly greater
   * logits), then the ids of the topN. A sample without a row gets zeros in both.
   */
  logProbs: {
    logits: TensorName;
    samples: TensorName;
    sampled: TensorName;
    logprobs: TensorName;
    logprobIds: TensorName;
    topN: number;
  };
}
export type OpName = keyof OpCatalogue;
/** One operation of a Program. In a pipeline, `stage` is the only one that runs it; without it, all do. */
export type Op = { [K in OpName]: { readonly op: K; readonly stage?: number } & Readonly<OpCatalogue[K]> }[OpName];
export type OpOf<K extends OpName> = Extract<Op, { op: K }>;

/** The logit of a masked token: finite, because WGSL may assume that infinities are absent. */
export const MASKED_LOGIT = -3.0e38;
/** Slices of a loraLinear at most: queries, keys and values, and one to spare. */
export const MAX_LORA_SLICES = 4;
/** The threshold under which nothing is filtered. */
export const NO_THRESHOLD = -3.4028234663852886e38;

/** Operations in order, on named tensors. Made by core/program, validated there, and compiled by a Device. */
export interface Program {
  readonly name: string;
  readonly tensors: Readonly<Record<TensorName, ProgramTensor>>;
  readonly ops: readonly Op[];
  /** Upper bounds of every step; temporaries are placed at these. */
  readonly maxSizes: StepSizes;
}

// ----------------------------------------------------------------------------------------------------------------- device

/** What an op is offered with on a device; a missing list means that the op has no tensor of that kind. */
export interface OpDTypes {
  activations?: readonly DType[];
  weights?: readonly DType[];
  kv?: readonly DType[];
}
/** The only way to leave an op out of a backend. */
export interface Unsupported {
  readonly unsupported: string;
}
export type DTypeTable = Readonly<Record<OpName, OpDTypes | Unsupported>>;

export interface DeviceInfo {
  /** `reference`, `webgpu`, `cuda`, `cuda-emu`. For display only: nothing branches on it. */
  readonly kind: string;
  /** Name of the adapter or GPU. */
  readonly name: string;
  readonly dtypes: DTypeTable;
  /** Devices that divide each weight of the model among themselves and run the same programs. 1: a device alone. */
  readonly ranks: number;
  /** Groups of such ranks that divide the layers among themselves. 1: no pipeline. */
  readonly stages: number;
  /** The largest tensor that an op can bind, in bytes. */
  readonly limits: { readonly maxTensorBytes: number };
  /** Device memory in bytes, or null where the API does not tell. */
  readonly memory: { readonly total: number; readonly free: number } | null;
  readonly capabilities: {
    /** `transfer` works. */
    readonly hostTier: boolean;
    /** Equal inputs give bit-equal logits in any batch. */
    readonly batchInvariant: boolean;
    /** Steady decode replays captured graphs. */
    readonly graphs: boolean;
    /** A device in software, on the processor. */
    readonly software: boolean;
  };
}

/** External tensors of a Program by name. */
export type Bindings = Readonly<Record<TensorName, DeviceTensor>>;

export interface CompileOptions {
  /** Every temporary keeps its own memory and stays readable through `Executable.tensor`. */
  keepAll?: boolean;
}

export interface OpTiming {
  index: number;
  op: OpName;
  microseconds: number;
}

export interface Executable {
  readonly program: Program;
  /** A temporary of a program compiled with keepAll. */
  tensor(name: TensorName): DeviceTensor;
  /** Runs one step alone and times each op. */
  profile(sizes: StepSizes): Promise<OpTiming[]>;
  /** How often each op ran on this device since compile: nothing falls back to another device unseen. */
  opCounts(): Partial<Record<OpName, number>>;
  dispose(): void;
}

export interface SubmitStep {
  readonly executable: Executable;
  readonly sizes: StepSizes;
}

/**
 * Memory, compiled programs and one in-order queue.
 *
 * Ordering: write, submit and read take effect in call order. write copies `data` before it returns. read resolves with the
 * contents at its place in the queue: later writes and submits do not show. Errors of a submit reject the next read or
 * synchronize with a DeviceError that names the op. After loss every pending promise rejects with DeviceLostError, and
 * submit and write do nothing.
 */
export interface Device {
  readonly info: DeviceInfo;
  /** Throws DeviceError above `limits.maxTensorBytes` or when memory is exhausted. */
  createTensor(spec: TensorSpec): DeviceTensor;
  /**
   * offset and data.length in elements of the tensor; 16-bit tensors take Uint16Array (raw bits), those of 8 Uint8Array, quantised ones
   * Uint32Array (words). Of a group: to every rank, or to the one that is named.
   */
  write(tensor: DeviceTensor, data: TypedArray, offset?: number, rank?: number): void;
  /** Fills the tensor from raw little-endian bytes in its dtype, with back-pressure. Of a group: that of one rank, 0 if none is named, of its stage. */
  upload(tensor: DeviceTensor, chunks: AsyncIterable<Uint8Array>, rank?: number): Promise<void>;
  /** `upload` from open files, with no copy through here; what no piece covers stays as it is. Throws FileReadError. */
  uploadFiles?(tensor: DeviceTensor, pieces: readonly FileRows[], rank?: number): Promise<void>;
  /**
   * Of a group: a rank that has the model's files of its own fills a weight, by its name, from them. null: this rank is filled from
   * here, by `upload` or `uploadFiles`.
   */
  fill?(tensor: DeviceTensor, rank: number): Promise<void> | null;
  /** offset in elements of the tensor; fills all of `into`. */
  read(tensor: DeviceTensor, offset: number, into: TypedArray): Promise<void>;
  compile(program: Program, bindings: Bindings, options?: CompileOptions): Promise<Executable>;
  /**
   * Runs the list in order, `times` times over. Returns at once.
   *
   * A step in which every sequence decodes and samples (tokens = sequences = decodeSequences = samples) may be computed at larger
   * such sizes, within maxSizes: rows of its tensors beyond its sizes are undefined after it.
   */
  submit(steps: readonly SubmitStep[], times?: number): void;
  /** Choices that depend on speed, made ahead of the first step of a size. No row may be live. Absent where there are none. */
  tune?(executables: readonly Executable[]): Promise<void>;
  /** The same for what makes repeated decode steps cheap, for this list at each size that batches are padded to. */
  capture?(steps: readonly Executable[]): Promise<void>;
  /** Moves whole blocks of every kvCache tensor between the cache and the host tier. Blocks are neither freed nor allocated until it resolves. */
  transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void>;
  synchronize(): Promise<void>;
  /** Bytes of live tensors, arenas and staging. 0 after dispose. */
  allocatedBytes(): number;
  readonly lost: Promise<DeviceLostError>;
  dispose(): Promise<void>;
}

/** A device refused or failed an operation. The request or step is lost, the device is not. */
export class DeviceError extends Error {
  override readonly name: string = 'DeviceError';
  readonly op: OpName | undefined;
  constructor(message: string, op?: OpName, options?: ErrorOptions) {
    super(message, options);
    this.op = op;
  }
}

/** The device is gone: open a new one and compute the running requests again. */
export class DeviceLostError extends DeviceError {
  override readonly name = 'DeviceLostError';
}
