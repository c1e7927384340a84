import assert from 'node:assert/strict';
import type { LLMEngine } from '@quire/core';
import { DraftModel } from '../../../packages/core/src/engine/draft-model.ts';
import type { SymbolicExecutor } from '../../support/symbolic-executor.ts';
import { oracleSlots } from '../../support/symbolic-model.ts';

/** Most drafts of a step in the tests. */
export const MAX_DRAFTS = 4;

type Scheduler = LLMEngine['scheduler'];
type Request = Scheduler['running'][number];

/** Everything that must hold between any two calls of an engine. Names are those of the list in the project's notes: K1 ... S7. */
export function checkInvariants(engine: LLMEngine, executor: SymbolicExecutor): void {
  const { scheduler } = engine;
  checkBlocks(scheduler);
  checkTables(scheduler, executor);
  checkDrafts(scheduler, executor);
  checkOrder(scheduler, engine.limits.maxNumSeqs);
}

/** K1, K2: every block is free or held, never both, and is held as often as it is counted. */
function checkBlocks({ blocks, running, waiting, hostTier }: Scheduler): void {
  const free = [...blocks.freeBlocks()];
  assert.equal(free.length, blocks.numFreeBlocks);
  assert.equal(new Set(free).size, free.length, 'K1: a block is free once');
  assert(!free.includes(0), 'K1: the null block is never free');
  const held = new Int32Array(blocks.numBlocks);
  for (const { table } of running) for (let i = 0; i < table.length; i++) held[table.at(i)]!++;
  for (const block of hostTier?.heldBlocks() ?? []) held[block]!++;
  for (const { table } of waiting) assert.equal(table.length, 0, 'S3: who waits holds nothing');
  const isFree = new Uint8Array(blocks.numBlocks);
  for (const block of free) isFree[block] = 1;
  // Asked of every block in every step: messages are made only when they are needed.
  for (let block = 1; block < blocks.numBlocks; block++) {
    if (blocks.refCount(block) !== held[block]) assert.fail(`K2: count of block ${block}`);
    if ((isFree[block] === 1) !== (held[block] === 0)) {
      assert.fail(`K1: block ${block} is free exactly when nobody holds it`);
    }
  }
}

/** K3, K4, K8: tables cover what is computed, the cache tells the truth, and the device holds what the host believes. */
function checkTables({ blocks, running }: Scheduler, executor: SymbolicExecutor): void {
  const { blockSize } = blocks;
  for (const request of running) {
    const { table, tokens, numTokens, numComputed } = request;
    const drafts = request.speculates ? MAX_DRAFTS : 0;
    assert(table.length >= Math.ceil(numComputed / blockSize), 'K3: a table holds what is computed');
    assert(table.length <= Math.ceil((numComputed + drafts) / blockSize), 'K3: and no more');
    const ids = table.from(0);
    assert.equal(new Set(ids).size, ids.length, 'K3: a block is in a table once');
    assert(!ids.includes(0), 'K3: the null block is in no table');
    assert(request.numCachedTokens < request.virtualTokens, 'K8: at least one token is computed');
    assert(
      table.numCached * blockSize <= Math.min(numTokens, numComputed),
      'K4: only known and computed tokens are cached',
    );
    // After a failure the device holds anything, until the engine hears of it.
    if (!request.isLoading && executor.failure === null) checkContent(request, executor, ids);
    for (let i = 0; i < table.numCached; i++) {
      if (!blocks.cache?.has(ids[i]!)) continue;
      const cached = blocks.cache.tokensOf(ids[i]!);
      const isSame = cached.every((token, j) => token === tokens[i * blockSize + j]);
      assert(isSame, 'K4, K7: tokens of a cached block');
    }
  }
}

/** K10, of the draft model: it holds blocks for requests that run, and for no other. */
function checkDrafts({ speculator, running }: Scheduler, executor: SymbolicExecutor): void {
  if (!(speculator instanceof DraftModel)) return;
  const { blocks } = speculator;
  if (running.length === 0) assert.equal(blocks.numFreeBlocks, blocks.numBlocks - 1, 'K10: blocks of drafts');
  for (const block of blocks.freeBlocks()) if (!blocks.cache?.has(block)) executor.draft!.poison(block);
}

function checkContent({ tokens, numTokens, numComputed }: Request, executor: SymbolicExecutor, ids: number[]): void {
  const { blockSize } = executor.limits;
  const known = Math.min(numTokens, numComputed);
  const slots = oracleSlots([...tokens.subarray(0, known)]);
  for (let position = 0; position < known; position++) {
    const slot = ids[Math.floor(position / blockSize)]! * blockSize + (position % blockSize);
    if (executor.layer2[slot] !== slots[position]) assert.fail(`K4: cache content at position ${position}`);
  }
}

/** Below zero where the first runs before the second; of equal ranks, the earlier arrival does. */
export function compareRanks(a: Request, b: Request): number {
  return a.rank - b.rank || a.arrival - b.arrival;
}

/** S1, S3, S6, S7: both lists are ordered by rank, so the last one running is the victim and comes back before later ones. */
function checkOrder({ running, waiting }: Scheduler, maxNumSeqs: number): void {
  assert(running.length <= maxNumSeqs, 'S1: running requests');
  assert.equal(
    new Set([...running, ...waiting]).size,
    running.length + waiting.length,
    'S3: a request is in one place',
  );
  for (const list of [running, [...waiting]]) {
    for (let i = 1; i < list.length; i++) assert(compareRanks(list[i - 1]!, list[i]!) < 0, 'S6, S7: order of rank');
  }
  assert.equal(new Set(running.map(request => request.row)).size, running.length, 'S3: rows are not shared');
  for (const request of running) {
    assert.equal(request.status, 'running');
    assert(request.virtualTokens <= request.tokenLimit, 'S1: nothing is sampled past the limit');
    assert(request.numComputed <= request.virtualTokens, 'S2: nothing is computed before it is there');
    assert(request.numPlaceholders >= 0);
  }
  for (const request of waiting) {
    assert(request.status === 'waiting' || request.status === 'preempted');
    assert.equal(request.numComputed, 0, 'S3: who waits has computed nothing');
  }
}
