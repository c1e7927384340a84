import assert from 'node:assert/strict';
import type {
  ExecutorLimits,
  ModelExecutor,
  NewRow,
  RowEdit,
  SchedulerOutput,
  SleepingExecutor,
  StepResult,
} from '@quire/core';
import { DeviceLostError, NONE, SAMPLE_FINITE, SAMPLE_LIVE } from '@quire/core/contract';
import {
  FOLD_START,
  fakeLogprob,
  fold,
  NAN_MARKER,
  nextToken,
  oracleStates,
  type SymbolicSampling,
  slotHash,
} from './symbolic-model.ts';

/** Content of a slot that nobody may read. */
const POISON = 0xdeadbeef;

interface DeviceRow {
  tokens: Uint32Array;
  numTokens: number;
  numComputed: number;
  tokenLimit: number;
  blockCredit: number;
  sampling: SymbolicSampling;
  logprobs: number | null;
  table: Int32Array;
  /** The ids that it may sample, once they were written; null: all. */
  mask: Uint32Array | null;
  adapterSlot: number | null;
}

export interface SymbolicOptions {
  limits: ExecutorLimits;
  /** Called for every block that a step writes to, before it does. */
  onWrite?: (block: number) => void;
  /** Makes a step fail. */
  fault?: (step: SchedulerOutput) => Error | null;
  /** Delays each transfer. */
  delayTransfer?: () => Promise<void>;
  /** Delays each result; results stay in order. */
  deliver?: (result: StepResult) => Promise<StepResult>;
  /** Told of a step that breaks the contract, from which an engine recovers as from a failure of the device. */
  onViolation?: ((error: assert.AssertionError) => void) | undefined;
  /** Which model it stands for: others sample other tokens. Default 0. */
  model?: number;
  /** Compare every state that is sampled from with that of the row's tokens. */
  checkStates?: boolean;
  /** A model that guesses ahead, whose states are compared so. */
  draft?: Omit<SymbolicOptions, 'draft' | 'checkStates' | 'onViolation'>;
}

export const symbolicLimits: ExecutorLimits = {
  maxNumSeqs: 4,
  maxModelLen: 64,
  maxNumBatchedTokens: 16,
  maxSamples: 16,
  blockSize: 4,
  numBlocks: 33,
  numHostBlocks: 0,
  blockBytes: 1024,
  vocabSize: 32,
  maxLogprobs: 5,
  maxBiasWords: 32,
  ringSlots: 16,
};

/**
 * A ModelExecutor without a device: slots hold hashes, rows live here as they live on a device, and every step is checked
 * against the contract. A wrong block, a stale slot or a missed copy changes the tokens. The queue is in order, so a step is
 * carried out when it is submitted, and only its result comes later.
 */
export class SymbolicExecutor implements ModelExecutor {
  readonly limits: ExecutorLimits;
  readonly draft: SymbolicExecutor | null;
  readonly layer1: Uint32Array;
  readonly layer2: Uint32Array;
  readonly #rows: (DeviceRow | null)[];
  readonly #options: SymbolicOptions;
  readonly #hostSlots = new Map<string, Uint32Array>();
  /** The rank of the adapter in each slot, by which tests tell them apart. */
  readonly adapters: number[] = [];
  #transfers: Promise<void> = Promise.resolve();
  /** Steps, repeats counted. */
  steps = 0;
  submits = 0;
  maxTimes = 0;
  disposed = false;
  /** Thrown by the next submits, until `reset`; a lost device stays lost. */
  failure: Error | null = null;
  /** Tokens computed, over all steps. */
  tokensComputed = 0;
  blocksCopied = 0;
  /** Submits of the batch of the submit before. */
  repeats = 0;
  #batch: Int32Array[] = [];

  constructor(options: SymbolicOptions) {
    const { limits, draft, onViolation } = options;
    this.#options = options;
    this.limits = limits;
    this.draft = draft === undefined ? null : new SymbolicExecutor({ ...draft, checkStates: true, onViolation });
    this.layer1 = new Uint32Array(limits.numBlocks * limits.blockSize).fill(POISON);
    this.layer2 = new Uint32Array(limits.numBlocks * limits.blockSize).fill(POISON);
    this.#rows = Array.from({ length: limits.maxNumSeqs }, () => null);
  }

  submit(step: SchedulerOutput): Promise<StepResult> {
    try {
      return this.#submit(step);
    } catch (error) {
      if (error instanceof assert.AssertionError) this.#options.onViolation?.(error);
      throw error;
    }
  }

  #submit(step: SchedulerOutput): Promise<StepResult> {
    this.failure ??= this.#options.fault?.(step) ?? null;
    if (this.failure !== null) return Promise.reject(this.failure);
    this.#check(step);
    for (const { slot, weights } of step.adapterLoads ?? []) {
      assert(slot < (this.limits.numAdapterSlots ?? 0), `adapter slot ${slot}`);
      this.adapters[slot] = weights.rank;
    }
    for (const row of step.newRows) this.#takeRow(row);
    for (const edit of step.edits) this.#editRow(edit);
    for (const { row, words } of step.masks) this.#rows[row]!.mask = words.slice();
    this.#grant(step);
    this.#changeBlocks(step);
    const result = this.#result(step);
    for (let repeat = 0; repeat < step.times; repeat++) this.#run(step, repeat, result);
    this.submits++;
    this.steps += step.times;
    this.maxTimes = Math.max(this.maxTimes, step.times);
    return this.#options.deliver?.(result) ?? Promise.resolve(result);
  }

  /**
   * Blocks are read late and written late: a block that is handed out too soon, or read too soon, shows. Transfers end in
   * order.
   */
  transfer(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): Promise<void> {
    assert.equal(blocks.length, hostSlots.length);
    for (const slot of hostSlots) assert(slot >= 0 && slot < this.limits.numHostBlocks, `host slot ${slot}`);
    if (direction === 'toDevice') for (const block of blocks) this.poison(block);
    const moved = (this.#options.delayTransfer?.() ?? Promise.resolve()).then(() =>
      this.#move(blocks, hostSlots, direction),
    );
    this.#transfers = Promise.all([this.#transfers, moved]).then(() => {});
    return this.#transfers;
  }

  reset(): void {
    assert(!(this.failure instanceof DeviceLostError), 'a lost device cannot be reset');
    this.failure = null;
    this.#batch = [];
    this.#rows.fill(null);
    this.layer1.fill(POISON);
    this.layer2.fill(POISON);
    this.draft?.reset();
  }

  async sleep(): Promise<SleepingExecutor> {
    this.disposed = true;
    return { wake: async () => new SymbolicExecutor(this.#options), dispose: async () => {} };
  }

  async synchronize(): Promise<void> {}

  async dispose(): Promise<void> {
    this.disposed = true;
    await this.draft?.dispose();
  }

  #move(blocks: Int32Array, hostSlots: Int32Array, direction: 'toHost' | 'toDevice'): void {
    const { blockSize } = this.limits;
    for (const [i, layer] of [this.layer1, this.layer2].entries()) {
      for (const [j, block] of blocks.entries()) {
        const [onDevice, key] = [layer.subarray(block * blockSize, (block + 1) * blockSize), `${i} ${hostSlots[j]}`];
        if (direction === 'toHost') {
          this.#hostSlots.set(key, onDevice.slice());
        } else {
          const saved = this.#hostSlots.get(key);
          assert(saved !== undefined, `host slot ${key} was never filled`);
          onDevice.set(saved);
        }
      }
    }
  }

  /** Makes a block unreadable, as from this place in the queue on. */
  poison(block: number): void {
    const { blockSize } = this.limits;
    this.layer1.fill(POISON, block * blockSize, (block + 1) * blockSize);
    this.layer2.fill(POISON, block * blockSize, (block + 1) * blockSize);
  }

  #check(step: SchedulerOutput): void {
    const { limits } = this;
    const n = step.numSequences;
    const rows = new Set<number>();
    let tokens = 0;
    let samples = 0;
    assert(n > 0 && n <= limits.maxNumSeqs, `a step of ${n} sequences`);
    for (let i = 0; i < n; i++) {
      const decodes = step.queryLens[i] === 1 && step.sampleCounts[i] === 1;
      assert.equal(decodes, i < step.numDecodeSequences, 'decode sequences come first');
      assert(step.queryLens[i]! >= 1, 'every sequence computes a token');
      assert(step.sampleCounts[i]! <= step.queryLens[i]!);
      assert(!rows.has(step.rows[i]!), 'a row is in a step once');
      assert(step.rows[i]! >= 0 && step.rows[i]! < limits.maxNumSeqs);
      rows.add(step.rows[i]!);
      tokens += step.queryLens[i]!;
      samples += step.sampleCounts[i]!;
    }
    assert(tokens <= limits.maxNumBatchedTokens, `${tokens} tokens exceed the budget`);
    assert(samples <= limits.maxSamples, `${samples} samples exceed the budget`);
    assert(step.times >= 1 && step.times <= limits.ringSlots);
    if (step.times > 1) assert.equal(step.numDecodeSequences, n, 'only decode steps are repeated');
    assert.equal(new Set(step.grants.map(grant => grant.row)).size, step.grants.length, 'one grant per row');
    for (const { row } of step.newRows) assert(rows.has(row), 'a new row is in its first step');
    const batch = [step.rows, step.queryLens, step.sampleCounts, step.promptLogprobs].map(column => column.slice(0, n));
    if (step.isRepeat) {
      assert.deepEqual(batch, this.#batch, 'a repeat is of the batch before');
      assert(step.newRows.length + step.edits.length === 0, 'and brings no rows');
      assert.equal(step.numDecodeSequences, n, 'and only decodes');
      this.repeats++;
    }
    this.#batch = batch;
    // What crosses to another thread or is kept must survive a structured clone.
    if (this.submits % 64 === 0) assert.equal(structuredClone({ ...step }).numSequences, n);
  }

  #takeRow(init: NewRow): void {
    const { maxModelLen, blockSize } = this.limits;
    const tokens = new Uint32Array(maxModelLen).fill(POISON);
    tokens.set(init.tokenIds);
    this.#rows[init.row] = {
      tokens,
      numTokens: init.tokenIds.length,
      numComputed: init.numComputed,
      tokenLimit: init.tokenLimit,
      blockCredit: 0,
      sampling: { ...init.sampling, minTokensUntil: init.promptTokens + init.sampling.minTokens },
      logprobs: init.logprobs,
      table: new Int32Array(Math.ceil(maxModelLen / blockSize)).fill(-1),
      // Whatever the row's last owner may sample, this one may not sample anything before its mask is there.
      mask: init.sampling.masked ? new Uint32Array(1) : null,
      adapterSlot: init.adapterSlot ?? null,
    };
  }

  #editRow({ row, start, tokenIds, numComputed }: RowEdit): void {
    const device = this.#rows[row]!;
    // What the row itself did not compute, rows that check drafts did.
    assert(start <= device.numTokens, 'an edit leaves no gap');
    device.tokens.set(tokenIds, start);
    device.numTokens = start + tokenIds.length;
    device.numComputed = numComputed;
  }

  #grant({ grants }: SchedulerOutput): void {
    for (const { row, start, blocks } of grants) {
      const device = this.#rows[row]!;
      device.table.set(blocks, start);
      device.blockCredit = (start + blocks.length) * this.limits.blockSize;
    }
  }

  #changeBlocks({ zeroBlocks, copies }: SchedulerOutput): void {
    const { blockSize } = this.limits;
    this.blocksCopied += copies.length;
    for (const layer of [this.layer1, this.layer2]) {
      for (const block of zeroBlocks) layer.fill(0, block * blockSize, (block + 1) * blockSize);
      const sources = copies.map(([from]) => layer.slice(from * blockSize, (from + 1) * blockSize));
      copies.forEach(([, to], i) => {
        layer.set(sources[i]!, to * blockSize);
      });
    }
  }

  #result(step: SchedulerOutput): StepResult {
    const n = step.numSequences;
    let topN = -1;
    let samples = 0;
    const sampleStarts = new Int32Array(n);
    for (let i = 0; i < n; i++) {
      topN = Math.max(topN, step.promptLogprobs[i]!, this.#rows[step.rows[i]!]!.logprobs ?? -1);
      sampleStarts[i] = samples;
      samples += step.sampleCounts[i]!;
    }
    const width = Math.max(0, topN);
    const logprobs = {
      topN: width,
      logprobs: new Float32Array(samples * (1 + width)),
      ids: new Uint32Array(samples * (2 + width)),
    };
    return {
      tokenIds: new Uint32Array(step.times * n).fill(NONE),
      flags: new Uint32Array(step.times * n),
      logprobs: topN < 0 ? null : logprobs,
      sampleStarts,
      hostLogprobs: null,
    };
  }

  /** Layer by layer: all writes of the step, then all reads. */
  #run(step: SchedulerOutput, repeat: number, result: StepResult): void {
    const n = step.numSequences;
    const live = Array.from({ length: n }, (_, i) => this.#isLive(step, i));
    if (repeat === 0) assert(live.every(Boolean), 'a sequence was scheduled that the device must skip');
    this.#writeLayer1(step, live);
    const deeper = live.map((alive, i) => (alive ? this.#read(step, i, this.layer1) : []));
    this.#writeLayer2(step, live, deeper);
    const states = live.map((alive, i) => (alive ? this.#read(step, i, this.layer2) : []));
    for (let i = 0; i < n; i++) if (live[i]) this.#sample(step, i, repeat, states[i]!, result);
  }

  #isLive(step: SchedulerOutput, i: number): boolean {
    const row = this.#rows[step.rows[i]!]!;
    const end = row.numComputed + step.queryLens[i]!;
    const samplesBeyond = step.sampleCounts[i]! > 0 && end === row.numTokens && row.numTokens >= row.tokenLimit;
    return end <= Math.min(row.numTokens, row.blockCredit) && !samplesBeyond;
  }

  #slot(row: DeviceRow, position: number): number {
    const { blockSize, numBlocks } = this.limits;
    const block = row.table[Math.floor(position / blockSize)]!;
    // Asked for every slot: a message is made only when it is needed.
    if (!(block > 0 && block < numBlocks)) assert.fail(`position ${position} lies in block ${block}`);
    return block * blockSize + (position % blockSize);
  }

  /** What is in the slot now: another adapter there shows. */
  #adapterOf({ adapterSlot }: DeviceRow): number {
    if (adapterSlot === null) return this.#options.model ?? 0;
    return this.adapters[adapterSlot] ?? assert.fail(`adapter slot ${adapterSlot} is empty`);
  }

  #writeLayer1(step: SchedulerOutput, live: boolean[]): void {
    const written = new Set<number>();
    for (let i = 0; i < step.numSequences; i++) {
      if (!live[i]) continue;
      const row = this.#rows[step.rows[i]!]!;
      for (let j = 0; j < step.queryLens[i]!; j++) {
        const position = row.numComputed + j;
        const slot = this.#slot(row, position);
        assert(!written.has(slot), 'two tokens of a step write to one slot');
        written.add(slot);
        this.#options.onWrite?.(Math.floor(slot / this.limits.blockSize));
        this.layer1[slot] = slotHash(row.tokens[position]!, position, this.#adapterOf(row));
        this.tokensComputed++;
      }
    }
  }

  #writeLayer2(step: SchedulerOutput, live: boolean[], values: number[][]): void {
    for (let i = 0; i < step.numSequences; i++) {
      if (!live[i]) continue;
      const row = this.#rows[step.rows[i]!]!;
      for (let j = 0; j < step.queryLens[i]!; j++) {
        this.layer2[this.#slot(row, row.numComputed + j)] = values[i]![j]!;
      }
    }
  }

  /** Folds over the whole context of each query token, through the block table. */
  #read(step: SchedulerOutput, i: number, layer: Uint32Array): number[] {
    const row = this.#rows[step.rows[i]!]!;
    const end = row.numComputed + step.queryLens[i]!;
    const states: number[] = [];
    let state = FOLD_START;
    for (let position = 0; position < end; position++) {
      state = fold(state, layer[this.#slot(row, position)]!);
      if (position >= row.numComputed) states.push(state);
    }
    return states;
  }

  #sample(step: SchedulerOutput, i: number, repeat: number, states: number[], result: StepResult): void {
    const row = this.#rows[step.rows[i]!]!;
    const queryLen = step.queryLens[i]!;
    const sampleCount = step.sampleCounts[i]!;
    const firstPosition = row.numComputed;
    row.numComputed += queryLen;
    for (let s = 0; s < sampleCount; s++) {
      const token = queryLen - sampleCount + s;
      const predicted = firstPosition + token + 1;
      const known = predicted < row.numTokens;
      const state = states[token]!;
      if (this.#options.checkStates) this.#checkState(row, predicted, state);
      const id = known ? row.tokens[predicted]! : this.#next(row, state);
      this.#writeLogprobs(result, result.sampleStarts[i]! + s, id, state);
      if (known) continue;
      row.tokens[row.numTokens++] = id;
      result.tokenIds[repeat * step.numSequences + i] = id;
      result.flags[repeat * step.numSequences + i] = SAMPLE_LIVE | (state === NAN_MARKER ? 0 : SAMPLE_FINITE);
    }
  }

  /** Whatever slots were read, they held what the row's tokens give. */
  #checkState({ tokens }: DeviceRow, length: number, state: number): void {
    const expected = oracleStates([...tokens.subarray(0, length)], this.#options.model).at(-1);
    assert.equal(state, expected, `stale slots were read to sample the token at position ${length}`);
  }

  #next({ numTokens, sampling, mask }: DeviceRow, state: number): number {
    const allows = (token: number) => mask === null || ((mask[token >>> 5]! >>> (token & 31)) & 1) === 1;
    return nextToken(state, numTokens, sampling, this.limits.vocabSize, allows);
  }

  #writeLogprobs({ logprobs: out }: StepResult, sample: number, id: number, state: number): void {
    if (out === null) return;
    const { topN } = out;
    for (let k = 0; k <= topN; k++) {
      const value = state === NAN_MARKER ? Number.NaN : fakeLogprob(state, k);
      out.logprobs[sample * (1 + topN) + k] = value;
    }
    out.ids[sample * (2 + topN)] = id;
    out.ids[sample * (2 + topN) + 1] = 1 + (state % 5);
    for (let k = 0; k < topN; k++) out.ids[sample * (2 + topN) + 2 + k] = (state + k) % this.limits.vocabSize;
  }
}
