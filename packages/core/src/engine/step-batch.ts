import type {
  AdapterLoad,
  BlockGrant,
  HostLogits,
  NewRow,
  RowEdit,
  RowMask,
  SchedulerOutput,
} from '../worker/types.ts';
import type { DraftRow } from './draft-rows.ts';
import { hostLogits } from './host-logits.ts';
import { NO_ROW, NO_SLOT, type Request } from './request.ts';
import type { RunningList } from './running-list.ts';
import { NEVER, type RunningRows } from './running-rows.ts';

/** Columns of one step, one entry per sequence. */
class Columns {
  readonly requests: (Request | null)[];
  readonly rows: Int32Array;
  readonly queryLens: Int32Array;
  readonly sampleCounts: Int32Array;
  readonly promptLogprobs: Int32Array;
  /** Position of the first token that the sequence computes. */
  readonly starts: Int32Array;
  /** Tokens that the sequence will append over all repeats. */
  readonly appends: Int32Array;
  /** First entry of the block table that the device does not know yet; NEVER: it knows them all. */
  readonly grantStarts: Int32Array;
  /** The row of the request, also where another one checks a draft of it, and who held it. */
  readonly homes: Int32Array;
  readonly holders: Int32Array;
  /** Drafts that the entries behind this one check. */
  readonly numDrafts: Int32Array;
  length = 0;
  /** Entries of `requests` that may be left from the last use. */
  used = 0;

  constructor(capacity: number) {
    this.requests = new Array<Request | null>(capacity).fill(null);
    this.rows = new Int32Array(capacity);
    this.queryLens = new Int32Array(capacity);
    this.sampleCounts = new Int32Array(capacity);
    this.promptLogprobs = new Int32Array(capacity);
    this.starts = new Int32Array(capacity);
    this.appends = new Int32Array(capacity);
    this.grantStarts = new Int32Array(capacity).fill(NEVER);
    this.homes = new Int32Array(capacity);
    this.holders = new Int32Array(capacity);
    this.numDrafts = new Int32Array(capacity);
  }

  copyFrom(from: Columns, index: number): void {
    const to = this.length++;
    this.requests[to] = from.requests[index]!;
    this.rows[to] = from.rows[index]!;
    this.queryLens[to] = from.queryLens[index]!;
    this.sampleCounts[to] = from.sampleCounts[index]!;
    this.promptLogprobs[to] = from.promptLogprobs[index]!;
    this.starts[to] = from.starts[index]!;
    this.appends[to] = from.appends[index]!;
    this.grantStarts[to] = from.grantStarts[index]!;
    this.homes[to] = from.homes[index]!;
    this.holders[to] = from.holders[index]!;
    this.numDrafts[to] = from.numDrafts[index]!;
  }
}

/**
 * One submit: what the executor is told (SchedulerOutput), and what the engine must remember until its result is there.
 * Reused from step to step, so that steady decode allocates nothing.
 */
export class StepBatch implements SchedulerOutput {
  newRows: NewRow[] = [];
  edits: RowEdit[] = [];
  grants: BlockGrant[] = [];
  copies: readonly (readonly [number, number])[] = [];
  zeroBlocks: readonly number[] = [];
  masks: RowMask[] = [];
  hostLogits: HostLogits[] = [];
  pooledRows: number[] = [];
  adapterLoads: readonly AdapterLoad[] = [];
  numSequences = 0;
  numDecodeSequences = 0;
  times = 1;
  rows: Int32Array;
  queryLens: Int32Array;
  sampleCounts: Int32Array;
  promptLogprobs: Int32Array;
  /** Tokens computed in one repeat. */
  numTokens = 0;
  numPromptTokens = 0;
  /** Some sequence wants log-probabilities or the host's say, so the host must look at every repeat. */
  needsHost = false;
  isRepeat = false;
  /** It is a decode of each running request and nothing else, of those that ran in this version of their list; -1: it is not. */
  decodedVersion = -1;
  readonly #running: RunningRows;
  /** The version of the running requests whose decodes the first entries are, and how many of these still stand. */
  #filled = -1;
  #numFilled = 0;
  #columns: Columns;
  /** Holds the other order while a mixed batch is sorted. */
  #scratch: Columns;

  constructor(running: RunningRows) {
    const maxNumSeqs = running.holders.length;
    this.#running = running;
    this.#columns = new Columns(maxNumSeqs);
    this.#scratch = new Columns(maxNumSeqs);
    const { rows, queryLens, sampleCounts, promptLogprobs } = this.#columns;
    this.rows = rows.subarray(0, 0);
    this.queryLens = queryLens.subarray(0, 0);
    this.sampleCounts = sampleCounts.subarray(0, 0);
    this.promptLogprobs = promptLogprobs.subarray(0, 0);
  }

  request(i: number): Request {
    return this.#columns.requests[i]!;
  }

  row(i: number): number {
    return this.#columns.rows[i]!;
  }

  start(i: number): number {
    return this.#columns.starts[i]!;
  }

  appends(i: number): number {
    return this.#columns.appends[i]!;
  }

  /** How many entries behind the i-th check its drafts: their samples are its own, as far as the drafts hold. */
  numDrafts(i: number): number {
    return this.#columns.numDrafts[i]!;
  }

  /** Whether the request still owns what this step computed for it: it has not ended or been preempted since. */
  isCurrent(i: number): boolean {
    const { homes, holders } = this.#columns;
    return this.#running.holders[homes[i]!] === holders[i];
  }

  clear(): void {
    this.numSequences = 0;
    this.#columns.length = 0;
    this.decodedVersion = -1;
    this.isRepeat = false;
    if (this.newRows.length > 0) this.newRows = [];
    if (this.edits.length > 0) this.edits = [];
    if (this.grants.length > 0) this.grants = [];
    if (this.masks.length > 0) this.masks = [];
    if (this.hostLogits.length > 0) this.hostLogits = [];
    if (this.pooledRows.length > 0) this.pooledRows = [];
    this.numDecodeSequences = 0;
    this.times = 1;
    this.numTokens = 0;
    this.numPromptTokens = 0;
    this.needsHost = false;
  }

  /** Adds a sequence that computes queryLen tokens from its numComputed on. */
  add(request: Request, queryLen: number, sampleCount: number, appends: number, grantStart: number): void {
    const c = this.#columns;
    const i = c.length++;
    this.#numFilled = Math.min(this.#numFilled, i);
    this.decodedVersion = -1;
    this.numSequences = c.length;
    const wantsPrompt = request.wantsPromptLogprobs;
    c.requests[i] = request;
    c.rows[i] = request.row;
    c.queryLens[i] = queryLen;
    c.sampleCounts[i] = sampleCount;
    c.promptLogprobs[i] = wantsPrompt ? request.params.promptLogprobs! : -1;
    c.starts[i] = request.numComputed;
    c.appends[i] = appends;
    c.grantStarts[i] = grantStart;
    c.homes[i] = request.row;
    c.holders[i] = this.#running.holders[request.row]!;
    c.numDrafts[i] = 0;
    this.numTokens += queryLen;
    this.numPromptTokens += Math.max(0, Math.min(queryLen, request.numPromptTokens - request.numComputed));
    if (queryLen === 1 && sampleCount === 1) this.numDecodeSequences++;
    if (wantsPrompt || request.needsHost || request.params.logprobs !== null) this.needsHost = true;
    if (request.editStart >= 0) this.edits.push(takeEdit(request));
    if (appends > 0 && request.pools !== null) this.pooledRows.push(request.row);
    if (appends > 0 && request.hasHostWork) this.#addHostWork(request);
  }

  /**
   * Begins with the first `count` running requests, each of which decodes. What is there from the last use of this batch is kept
   * where the same requests ran then.
   */
  addDecodes(running: RunningList, count: number): void {
    const c = this.#columns;
    if (this.#filled !== running.version || this.#numFilled < count) this.#fillDecodes(running, count);
    this.#filled = running.version;
    this.#numFilled = count;
    this.decodedVersion = count === running.requests.length ? running.version : -1;
    c.appends.fill(1, 0, count);
    c.length = count;
    this.numSequences = count;
    this.numTokens = count;
    this.numDecodeSequences = count;
  }

  #fillDecodes({ requests, rows }: RunningList, count: number): void {
    const c = this.#columns;
    for (let i = 0; i < count; i++) {
      c.requests[i] = requests[i]!;
      c.holders[i] = this.#running.holders[rows[i]!]!;
    }
    c.rows.set(rows.subarray(0, count));
    c.homes.set(rows.subarray(0, count));
    c.queryLens.fill(1, 0, count);
    c.sampleCounts.fill(1, 0, count);
    c.promptLogprobs.fill(-1, 0, count);
    c.numDrafts.fill(0, 0, count);
  }

  /** Of a decode that `addDecodes` will add: where it starts. */
  setStart(i: number, start: number): void {
    this.#columns.starts[i] = start;
  }

  /** The same, and where the blocks begin that it gained. */
  setGrant(i: number, grantStart: number): void {
    this.#columns.grantStarts[i] = grantStart;
  }

  /** Adds a row that checks the index-th draft of the request added last. */
  addDraft(request: Request, index: number, { row, numTokens, numBlocks }: DraftRow): void {
    const c = this.#columns;
    c.numDrafts[c.length - 1 - index]!++;
    const i = c.length++;
    this.numSequences = c.length;
    c.requests[i] = request;
    c.rows[i] = row;
    c.queryLens[i] = 1;
    c.sampleCounts[i] = 1;
    c.promptLogprobs[i] = -1;
    c.starts[i] = request.numTokens + index;
    c.appends[i] = 0;
    c.grantStarts[i] = numBlocks;
    c.homes[i] = request.row;
    c.holders[i] = this.#running.holders[request.row]!;
    c.numDrafts[i] = 0;
    this.numTokens++;
    this.numDecodeSequences++;
    const end = request.numTokens + 1 + index;
    const tokenIds = request.tokens.subarray(numTokens, end);
    if (numTokens > 0) this.edits.push({ row, start: numTokens, tokenIds, numComputed: end - 1 });
    else this.newRows.push({ ...newRow(request), row, tokenIds, numComputed: end - 1 });
  }

  /** What the host has to say on the token that the request samples in this step. */
  #addHostWork(request: Request): void {
    const words = request.constraint?.take(request) ?? null;
    if (words !== null) this.masks.push({ row: request.row, words });
    const logits = hostLogits(request);
    if (logits !== null) this.hostLogits.push(logits);
  }

  /** Raises what sequence i appends, for a step that is repeated. */
  extend(i: number, appends: number, grantStart: number): void {
    const c = this.#columns;
    c.appends[i] = appends;
    c.grantStarts[i] = Math.min(c.grantStarts[i]!, grantStart);
  }

  /** Puts decode sequences first, and lists the blocks that rows gained. */
  seal(): void {
    const { length } = this.#columns;
    if (this.numDecodeSequences < length) this.#decodeFirst();
    const c = this.#columns;
    // No request is held longer than its step.
    if (c.used > length) c.requests.fill(null, length, c.used);
    this.#numFilled = Math.min(this.#numFilled, length);
    c.used = length;
    for (let i = 0; i < length; i++) {
      const start = c.grantStarts[i]!;
      if (start === NEVER) continue;
      c.grantStarts[i] = NEVER;
      const { table } = c.requests[i]!;
      if (start < table.length) this.grants.push({ row: c.rows[i]!, start, blocks: table.from(start) });
    }
    if (this.rows.length === length && this.rows.buffer === c.rows.buffer) return;
    this.rows = c.rows.subarray(0, length);
    this.queryLens = c.queryLens.subarray(0, length);
    this.sampleCounts = c.sampleCounts.subarray(0, length);
    this.promptLogprobs = c.promptLogprobs.subarray(0, length);
  }

  #decodeFirst(): void {
    const from = this.#columns;
    const to = this.#scratch;
    to.length = 0;
    for (let pass = 0; pass < 2; pass++) {
      for (let i = 0; i < from.length; i++) {
        const decodes = from.queryLens[i] === 1 && from.sampleCounts[i] === 1;
        if (decodes === (pass === 0)) to.copyFrom(from, i);
      }
    }
    from.grantStarts.fill(NEVER);
    from.requests.fill(null);
    from.used = 0;
    this.#numFilled = 0;
    this.#columns = to;
    this.#scratch = from;
  }
}

/** What the device must know of a request that takes a row. */
export function newRow(request: Request): NewRow {
  if (request.row === NO_ROW) throw new Error('StepBatch: a request without a row cannot be sent to the device.');
  return {
    row: request.row,
    tokenIds: request.tokens.subarray(0, request.numTokens),
    promptTokens: request.numPromptTokens,
    numComputed: request.numComputed,
    tokenLimit: request.tokenLimit,
    sampling: request.sampling,
    logprobs: request.params.logprobs,
    adapterSlot: request.adapterSlot === NO_SLOT ? null : request.adapterSlot,
  };
}

/** The tokens that the host chose since the row last had them all. */
function takeEdit(request: Request): RowEdit {
  const start = request.editStart;
  request.editStart = -1;
  const tokenIds = request.tokens.subarray(start, request.numTokens);
  return { row: request.row, start, tokenIds, numComputed: request.numComputed };
}
