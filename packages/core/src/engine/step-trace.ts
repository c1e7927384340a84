import type { BlockManager } from './block-manager.ts';
import type { SequenceOutput } from './output-processor.ts';
import { NO_ROW, type Request } from './request.ts';
import type { Scheduler } from './scheduler.ts';
import type { StepBatch } from './step-batch.ts';

/**
 * What the engine holds after a step: its requests, their block tables and the pool, for those who want to see it. A copy of
 * plain values and typed arrays, so that it can be sent to another thread and kept.
 */
export interface StepTrace {
  /** Counts the submits whose results were read, from 1. */
  readonly step: number;
  /** Milliseconds on the engine's clock when the result had been processed. */
  readonly time: number;
  /** From submit until then. */
  readonly milliseconds: number;
  /** How often the device repeated the step. */
  readonly times: number;
  /** What the step computed, decode rows first. */
  readonly batch: readonly BatchEntry[];
  /** Running ones in the order in which they are scheduled, then those that wait. */
  readonly sequences: readonly SequenceTrace[];
  readonly pool: PoolTrace;
  readonly counters: TraceCounters;
}

export interface BatchEntry {
  readonly requestId: string;
  /** Which completion of the request. */
  readonly index: number;
  /** Position of the first token that was computed, and how many were in one repeat. */
  readonly start: number;
  readonly numTokens: number;
  /** `decode`: one token, which samples the next. */
  readonly phase: 'prefill' | 'decode';
}

export interface SequenceTrace {
  readonly requestId: string;
  readonly index: number;
  readonly status: 'waiting' | 'running' | 'preempted';
  readonly numPromptTokens: number;
  /** Prompt and output tokens that the host knows. */
  readonly numTokens: number;
  /** Tokens whose keys and values are in the cache, or on their way into it. */
  readonly numComputed: number;
  /** Prompt tokens found in the prefix cache when it first ran; -1 before. */
  readonly numCachedTokens: number;
  /** Physical blocks in order of position. */
  readonly blockTable: Int32Array;
}

/** The pool of KV blocks, one entry per block; block 0 is the null block and never used. */
export interface PoolTrace {
  readonly blockSize: number;
  /** Block tables that hold it; 0: free. */
  readonly refCounts: Uint16Array;
  /** 1: its content can be found by prompts that begin with it, also while it is free. */
  readonly cached: Uint8Array;
  /** Slots that hold keys and values of a request or of the cache, 0 to blockSize. */
  readonly filled: Uint8Array;
  /** Free blocks in the order in which they are handed out: a cached one is evicted then. */
  readonly freeOrder: Int32Array;
  /** Blocks that the step wrote to. */
  readonly written: Int32Array;
  /** Pairs (from, to) that the step copied first, because two sequences diverge in a shared block. */
  readonly copies: Int32Array;
}

/** Since the start of the engine. */
export interface TraceCounters {
  readonly preemptions: number;
  readonly prefixCacheQueries: number;
  readonly prefixCacheHits: number;
  readonly generationTokens: number;
}

/** Takes the trace of the step of a batch whose result was processed. */
export function traceStep(
  scheduler: Scheduler,
  batch: StepBatch,
  step: Pick<StepTrace, 'step' | 'time' | 'milliseconds'> & { generationTokens: number },
): StepTrace {
  const { blocks, counters } = scheduler;
  const { generationTokens, ...when } = step;
  return {
    ...when,
    times: batch.times,
    batch: batchEntries(batch),
    sequences: [...scheduler.running, ...scheduler.waiting].map(sequenceTrace),
    pool: poolTrace(blocks, scheduler.running, batch),
    counters: {
      preemptions: counters.preemptions,
      prefixCacheQueries: counters.prefixCacheQueries,
      prefixCacheHits: counters.prefixCacheHits,
      generationTokens,
    },
  };
}

function batchEntries(batch: StepBatch): BatchEntry[] {
  const entries: BatchEntry[] = [];
  for (let i = 0; i < batch.numSequences; i++) {
    const { group, index } = batch.request(i).owner as SequenceOutput;
    const numTokens = batch.queryLens[i]!;
    const phase = numTokens === 1 && batch.sampleCounts[i] === 1 ? 'decode' : 'prefill';
    entries.push({ requestId: group.id, index, start: batch.start(i), numTokens, phase });
  }
  return entries;
}

function sequenceTrace(request: Request): SequenceTrace {
  const { group, index } = request.owner as SequenceOutput;
  const { status, numPromptTokens, numTokens, numComputed, numCachedTokens, table } = request;
  return {
    requestId: group.id,
    index,
    status: status === 'finished' ? 'waiting' : status,
    numPromptTokens,
    numTokens,
    numComputed,
    numCachedTokens,
    blockTable: Int32Array.from(table.from(0)),
  };
}

function poolTrace(blocks: BlockManager, running: readonly Request[], batch: StepBatch): PoolTrace {
  const { numBlocks, blockSize, cache } = blocks;
  const refCounts = new Uint16Array(numBlocks);
  const cached = new Uint8Array(numBlocks);
  const filled = new Uint8Array(numBlocks);
  for (let block = 1; block < numBlocks; block++) {
    refCounts[block] = blocks.refCount(block);
    if (cache?.has(block)) {
      cached[block] = 1;
      filled[block] = blockSize;
    }
  }
  for (const { table, numComputed } of running) {
    for (let i = 0; i < table.length; i++) {
      const slots = Math.max(0, Math.min(blockSize, numComputed - i * blockSize));
      filled[table.at(i)] = Math.max(filled[table.at(i)]!, slots);
    }
  }
  return {
    blockSize,
    refCounts,
    cached,
    filled,
    freeOrder: Int32Array.from(blocks.freeBlocks()),
    written: writtenBlocks(batch, blockSize),
    copies: Int32Array.from(batch.copies.flat()),
  };
}

/** Of sequences that still hold them: a request that ended or was preempted since has given its blocks back. */
function writtenBlocks(batch: StepBatch, blockSize: number): Int32Array {
  const written = new Set<number>();
  for (let i = 0; i < batch.numSequences; i++) {
    const { table, row } = batch.request(i);
    if (row === NO_ROW || !batch.isCurrent(i)) continue;
    const start = batch.start(i);
    const end = start + batch.queryLens[i]! * batch.times;
    for (let at = Math.floor(start / blockSize); at * blockSize < end && at < table.length; at++) {
      written.add(table.at(at));
    }
  }
  return Int32Array.from(written);
}
