import assert from 'node:assert/strict';
import type { ExecutorLimits, LLMEngine, SamplingParams } from '@quire/core';
import { DeviceError, DeviceLostError } from '@quire/core/contract';
import fc from 'fast-check';
import { expect } from 'vitest';
import type { SchedulingPolicy } from '../../../packages/core/src/engine/priority.ts';
import type { SpeculativeConfig } from '../../../packages/core/src/engine/speculative-config.ts';
import { type SymbolicExecutor, type SymbolicOptions, symbolicLimits } from '../../support/symbolic-executor.ts';
import { NAN_TOKEN } from '../../support/symbolic-model.ts';
import { symbolicBeams } from './beams.ts';
import { Fairness } from './fairness.ts';
import { expectedOutput, type TestEngineOptions, testEngine } from './helpers.ts';
import { checkInvariants, compareRanks, MAX_DRAFTS } from './invariants.ts';

const VOCAB = 32;
const MAX_MODEL_LEN = 48;

export interface Setup {
  blockSize: number;
  spareBlocks: number;
  budget: number;
  samples: number;
  maxNumSeqs: number;
  chunked: boolean;
  prefixCaching: boolean;
  runAhead: number;
  steps: number;
  weakHash: boolean;
  policy: SchedulingPolicy;
  watermark: number;
  hostBlocks: number;
  drafts: number;
  /** Who guesses: prompt lookup, the model itself, or another one. */
  drafter: 'ngram' | 'same' | 'other';
  fault: 'none' | 'lost' | 'error';
  faultPeriod: number;
}

export type Command =
  | { kind: 'add'; prompt: PromptPlan; params: SamplingParams; salt: string; priority: number }
  | { kind: 'step'; abortDuring: number | null }
  | { kind: 'abort'; index: number }
  | { kind: 'resetCache' };

/** A prompt of its own, or one made from an earlier prompt. */
interface PromptPlan {
  fresh: number[];
  from: number | null;
  change: 'same' | 'prefix' | 'longer' | 'edge';
  at: number;
}

export const setups: fc.Arbitrary<Setup> = fc.record({
  blockSize: fc.constantFrom(1, 2, 3, 4, 16),
  spareBlocks: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 6 }) }, fc.integer({ min: 0, max: 60 })),
  budget: fc.integer({ min: 1, max: 64 }),
  samples: fc.integer({ min: 1, max: 16 }),
  maxNumSeqs: fc.integer({ min: 1, max: 6 }),
  chunked: fc.boolean(),
  prefixCaching: fc.boolean(),
  runAhead: fc.integer({ min: 1, max: 3 }),
  steps: fc.integer({ min: 1, max: 5 }),
  weakHash: fc.boolean(),
  policy: fc.constantFrom('fcfs', 'priority'),
  watermark: fc.constantFrom(0, 0, 0.1),
  hostBlocks: fc.constantFrom(0, 0, 1, 4, 40),
  drafts: fc.constantFrom(0, 0, 1, MAX_DRAFTS),
  drafter: fc.constantFrom('ngram', 'same', 'other'),
  fault: fc.constantFrom('none', 'none', 'lost', 'error'),
  faultPeriod: fc.integer({ min: 2, max: 30 }),
});

const sampled: fc.Arbitrary<SamplingParams> = fc.record(
  {
    maxTokens: fc.integer({ min: 1, max: 12 }),
    minTokens: fc.constantFrom(0, 0, 1),
    temperature: fc.constant(0.8),
    topK: fc.constantFrom(0, 0, 1, 2, 3),
    seed: fc.integer({ min: 0, max: 3 }),
    n: fc.constantFrom(1, 1, 1, 2, 3),
    bestOf: fc.constantFrom(null, null, 3, 4),
    stopTokenIds: fc.constantFrom([], [1], [2, 3, 4]),
    ignoreEos: fc.boolean(),
    logprobs: fc.constantFrom(null, null, null, 0, 2),
    promptLogprobs: fc.constantFrom(null, null, null, null, 1),
  },
  { requiredKeys: ['maxTokens', 'seed', 'temperature'] },
);

const beams: fc.Arbitrary<SamplingParams> = fc.record(
  {
    useBeamSearch: fc.constant(true),
    temperature: fc.constant(0),
    seed: fc.constant(0),
    maxTokens: fc.integer({ min: 1, max: 8 }),
    minTokens: fc.constantFrom(0, 0, 1),
    n: fc.integer({ min: 1, max: 2 }),
    bestOf: fc.integer({ min: 2, max: 4 }),
    lengthPenalty: fc.constantFrom(1, 0, -1, 2),
    earlyStopping: fc.constantFrom(false as const, true as const, 'never' as const),
    stopTokenIds: fc.constantFrom([], [1], [2, 3, 4]),
    ignoreEos: fc.boolean(),
  },
  { requiredKeys: ['useBeamSearch', 'maxTokens', 'bestOf', 'temperature', 'seed'] },
);

const params = fc.oneof({ weight: 8, arbitrary: sampled }, { weight: 1, arbitrary: beams });

export const commands: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 18,
    arbitrary: fc.record({
      kind: fc.constant('step' as const),
      abortDuring: fc.option(fc.nat(20), { freq: 8, nil: null }),
    }),
  },
  {
    weight: 9,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      prompt: fc.record({
        fresh: fc.array(fc.oneof({ weight: 60, arbitrary: fc.nat(2) }, fc.constant(NAN_TOKEN)), {
          minLength: 1,
          maxLength: 18,
        }),
        from: fc.option(fc.nat(20)),
        change: fc.constantFrom('same' as const, 'prefix' as const, 'longer' as const, 'edge' as const),
        at: fc.nat(20),
      }),
      params,
      salt: fc.constantFrom('', '', '', 'a', 'b'),
      priority: fc.constantFrom(0, 0, -1, 3),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('abort' as const), index: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('resetCache' as const) }) },
);

function speculation({ drafts, drafter }: Setup): SpeculativeConfig | null {
  if (drafts === 0) return null;
  const model = { model: drafter, revision: null, draftTensorParallelSize: null };
  if (drafter !== 'ngram') return { method: 'draft_model', numSpeculativeTokens: drafts, ...model };
  return { method: 'ngram', numSpeculativeTokens: drafts, promptLookupMax: 3, promptLookupMin: 1 };
}

/** Few long requests that only decode, among steps: what the engine does with the least thought. */
export const decodes: fc.Arbitrary<Command> = fc.oneof(
  { weight: 30, arbitrary: fc.record({ kind: fc.constant('step' as const), abortDuring: fc.constant(null) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      prompt: fc.record({
        fresh: fc.array(fc.oneof({ weight: 60, arbitrary: fc.nat(2) }, fc.constant(NAN_TOKEN)), {
          minLength: 1,
          maxLength: 6,
        }),
        from: fc.constant(null),
        change: fc.constant('same' as const),
        at: fc.constant(0),
      }),
      params: fc.record({
        maxTokens: fc.integer({ min: 8, max: 40 }),
        temperature: fc.constant(0.8),
        seed: fc.integer({ min: 0, max: 3 }),
        ignoreEos: fc.constantFrom(true, true, false),
      }),
      salt: fc.constant(''),
      priority: fc.constantFrom(0, 0, -1),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('abort' as const), index: fc.nat(8) }) },
);

type Group = ReturnType<LLMEngine['add']>;
type Request = LLMEngine['scheduler']['running'][number];

/** An engine over the symbolic executor that is checked after every command. */
export class Harness {
  readonly engine: LLMEngine;
  readonly groups: Group[] = [];
  readonly aborted = new Set<Group>();
  readonly prompts: number[][] = [];
  readonly #fairness: Fairness;
  readonly #params = new Map<Group, SamplingParams>();
  #running = new Set<Request>();
  readonly #setup: Setup;
  #transfers = 0;
  /** How often every invariant was checked. */
  checks = 0;
  #submits = 0;
  readonly #ended = new Map<Group, number>();
  /** What a step broke, which the engine takes for a failure of the device. */
  #violation: Error | null = null;

  constructor(setup: Setup) {
    this.#setup = setup;
    const needed = Math.ceil((MAX_MODEL_LEN - 1) / setup.blockSize);
    const limits = {
      blockSize: setup.blockSize,
      numBlocks: Math.min(needed, Math.ceil(24 / setup.blockSize) + setup.spareBlocks) + 1,
      maxModelLen: MAX_MODEL_LEN,
      maxNumBatchedTokens: setup.chunked ? setup.budget : Math.max(setup.budget, MAX_MODEL_LEN),
      maxSamples: setup.samples,
      maxNumSeqs: setup.maxNumSeqs,
      vocabSize: VOCAB,
      numHostBlocks: setup.prefixCaching ? setup.hostBlocks : 0,
    };
    const options: TestEngineOptions = {
      limits,
      config: {
        enableChunkedPrefill: setup.chunked,
        enablePrefixCaching: setup.prefixCaching,
        schedulingPolicy: setup.policy,
        watermark: setup.watermark,
        speculativeConfig: speculation(setup),
        runAhead: setup.runAhead,
        numSchedulerSteps: setup.steps,
      },
      executor: {
        onWrite: block => this.#checkWrite(block),
        onViolation: error => {
          this.#violation ??= error;
        },
        delayTransfer: () => this.#delay(),
        fault: step => {
          this.#fairness.checkStep(step);
          return this.#fault();
        },
        ...(setup.drafter === 'ngram' ? {} : { draft: this.#draft(limits) }),
      },
      ...(setup.weakHash ? { hash: (_: number, tokens: Uint32Array, start: number) => (tokens[start] ?? 0) & 15 } : {}),
    };
    this.engine = testEngine(options).engine;
    this.#fairness = new Fairness(this.engine);
  }

  /** The same model guesses what the target samples; another one has less room and is wrong mostly. */
  #draft(limits: Partial<ExecutorLimits>): SymbolicOptions {
    const own = { ...symbolicLimits, ...limits, numHostBlocks: 0 };
    const fault = () => this.#fault();
    if (this.#setup.drafter === 'same') return { limits: own, fault };
    const numBlocks = Math.max(2, own.numBlocks - this.#setup.spareBlocks);
    return {
      limits: { ...own, numBlocks, maxModelLen: 30, maxNumSeqs: Math.ceil(own.maxNumSeqs / 2) },
      model: 1,
      fault,
    };
  }

  get executor(): SymbolicExecutor {
    return this.engine.host.executor as SymbolicExecutor;
  }

  async run(command: Command): Promise<void> {
    if (command.kind === 'add') this.#add(command);
    if (command.kind === 'abort') this.#abort(command.index);
    if (command.kind === 'resetCache') this.engine.resetPrefixCache();
    if (command.kind === 'step') await this.#step(command.abortDuring);
    this.check();
  }

  /** Runs the commands and then the engine until nothing is left, and checks what came of each request. */
  static async runAll(setup: Setup, list: readonly Command[]): Promise<Harness> {
    const harness = new Harness(setup);
    for (const command of list) await harness.run(command);
    for (let steps = 0; harness.engine.hasUnfinished; steps++) {
      assert(steps < 4000, 'S4: the engine makes progress');
      await harness.run({ kind: 'step', abortDuring: null });
    }
    await harness.checkOutputs();
    return harness;
  }

  check(): void {
    this.checks++;
    if (this.#violation !== null) throw this.#violation;
    checkInvariants(this.engine, this.executor);
    if (this.#setup.fault !== 'error') this.#checkStarts();
    const { blocks } = this.engine.scheduler;
    for (const block of blocks.freeBlocks()) if (!blocks.cache?.has(block)) this.executor.poison(block);
    for (const group of this.groups) {
      if (!group.isFinished) continue;
      const tokens = group.numGenerationTokens;
      assert.equal(this.#ended.get(group) ?? tokens, tokens, 'L3: no token after the end');
      this.#ended.set(group, tokens);
    }
  }

  /**
   * Every so many submits the device is lost, or a step fails; not one of a request that is alone for that reason, and not for
   * ever, since a long prompt needs many steps.
   */
  #fault(): Error | null {
    const { fault, faultPeriod } = this.#setup;
    if (this.#submits > 8 * faultPeriod) return null;
    if (fault === 'none' || this.engine.scheduler.suspects.size > 0 || ++this.#submits % faultPeriod !== 0) return null;
    return fault === 'lost' ? new DeviceLostError('lost') : new DeviceError('failed');
  }

  /** Transfers take a few turns of the event loop's microtasks. */
  async #delay(): Promise<void> {
    for (let turns = this.#transfers++ % 9; turns > 0; turns--) await null;
  }

  async checkOutputs(): Promise<void> {
    const { hostTier } = this.engine.scheduler;
    await hostTier?.idle();
    hostTier?.poll();
    this.check();
    for (const group of this.groups) {
      if (group.params.useBeamSearch) await this.#checkBeams(group);
      else this.#checkGroup(group);
    }
    if (this.#setup.fault === 'none') this.#fairness.checkEnd(this.#work(), this.executor.tokensComputed);
    this.#checkAccepted();
    const { scheduler } = this.engine;
    assert.equal(scheduler.numFreeRows, this.engine.limits.maxNumSeqs, 'L2: all rows are free in the end');
    assert.equal(scheduler.blocks.numFreeBlocks, scheduler.blocks.numBlocks - 1, 'K10: all blocks are free in the end');
  }

  /** What the model itself guesses holds, but for what an end or a preemption cuts off. */
  #checkAccepted(): void {
    if (this.#setup.drafter !== 'same' || this.#setup.fault !== 'none') return;
    const { draftTokens, acceptedTokens, numPreemptions } = this.engine.stats();
    const cuts = numPreemptions + this.groups.reduce((total, { params }) => total + params.bestOf, 0);
    assert(
      draftTokens - acceptedTokens <= cuts * this.#setup.drafts,
      `${acceptedTokens} of ${draftTokens} drafts held`,
    );
  }

  /** Tokens of all sequences, as many as they may have. */
  #work(): number {
    const tokens = this.groups.map(({ prompt, params }) => params.bestOf * (prompt.tokenIds.length + params.maxTokens));
    return tokens.reduce((total, count) => total + count, 0);
  }

  /** K9: a block is written by its only holder; or it is full and cached in this step, and others of the step hit it already. */
  #checkWrite(block: number): void {
    const { blocks } = this.engine.scheduler;
    assert(blocks.refCount(block) === 1 || blocks.cache?.has(block), `K9: block ${block} is written and shared`);
  }

  async #step(abortDuring: number | null): Promise<void> {
    const step = this.engine.step();
    if (abortDuring !== null) this.#abort(abortDuring);
    await step;
  }

  #abort(index: number): void {
    const group = this.groups[index];
    if (group === undefined) return;
    if (!group.isFinished) this.aborted.add(group);
    this.engine.abort(group);
    assert(group.isFinished);
  }

  /**
   * S6: who starts has no one of lower rank waiting, but for completions that follow one of theirs. After a step that failed,
   * those that were in it come first.
   */
  #checkStarts(): void {
    const { running, waiting } = this.engine.scheduler;
    const others = [...waiting].filter(({ siblings }) => siblings.length === 0);
    for (const request of running) {
      if (this.#running.has(request)) continue;
      assert(
        others.every(other => compareRanks(request, other) < 0),
        'S6: requests start in the order of their rank',
      );
    }
    this.#running = new Set(running);
  }

  #add({ prompt, params, salt, priority }: Command & { kind: 'add' }): void {
    const tokenIds = this.#prompt(prompt);
    let group: Group;
    try {
      group = this.engine.add(tokenIds, { ...params, cacheSalt: salt || null, priority });
    } catch (error) {
      expect((error as Error).message).toMatch(/needs \d+ KV blocks|min_tokens must be|best_of must be|priority is/);
      return;
    }
    this.prompts.push(tokenIds);
    this.groups.push(group);
    this.#params.set(group, params);
  }

  #prompt({ fresh, from, change, at }: PromptPlan): number[] {
    const earlier = from === null ? undefined : this.prompts[from % Math.max(1, this.prompts.length)];
    if (earlier === undefined) return fresh;
    if (change === 'same') return earlier;
    if (change === 'prefix') return earlier.slice(0, 1 + (at % earlier.length));
    if (change === 'longer') return [...earlier, ...fresh].slice(0, 24);
    return earlier.with(at % earlier.length, fresh[0]!);
  }

  async #checkBeams(group: Group): Promise<void> {
    assert(group.isFinished, 'L1: every search ends');
    if (this.aborted.has(group)) return;
    const found = await symbolicBeams(Array.from(group.prompt.tokenIds), group.params, VOCAB);
    if (found === null) {
      assert.equal(group.sequences[0]!.finishReason, 'error', 'O8: a beam over NaN ends its search');
      return;
    }
    assert.deepEqual(
      group.sequences.map(({ request, finishReason }) => [request.outputTokens(), finishReason]),
      found.map(({ tokenIds, finishReason }) => [tokenIds, finishReason]),
      'O1: beams',
    );
  }

  #checkGroup(group: Group): void {
    assert(group.isFinished, 'L1: every request ends');
    const tokenIds = Array.from(group.prompt.tokenIds);
    const params = this.#params.get(group)!;
    const limits = { maxModelLen: MAX_MODEL_LEN, vocabSize: VOCAB };
    const all = Array.from({ length: params.bestOf ?? params.n ?? 1 }, (_, i) =>
      expectedOutput(tokenIds, params, BigInt(params.seed as number) + BigInt(i), limits),
    );
    const best = group.choosesAtEnd ? all.toSorted((a, b) => b.cumulativeLogprob - a.cumulativeLogprob) : all;
    assert.equal(group.sequences.length, params.n ?? 1, 'n completions are returned');
    for (const sequence of group.sequences) {
      // Of an aborted request, those that are returned depend on how far each was.
      const isAborted = group.sequences.some(({ finishReason }) => finishReason === 'abort');
      const expected = isAborted
        ? all[Number(sequence.request.sampling.seed) - (params.seed as number)]!
        : best[sequence.index]!;
      const tokens = sequence.request.outputTokens();
      if (sequence.finishReason === 'abort') {
        assert(this.aborted.has(group), 'only aborted requests end so');
        assert.deepEqual(tokens, expected.tokenIds.slice(0, tokens.length), 'O1: tokens before an abort');
        continue;
      }
      assert.deepEqual(tokens, expected.tokenIds, `O1: tokens of completion ${sequence.index}`);
      assert.equal(sequence.finishReason, expected.finishReason, 'O5: finish reason');
      assert.equal(sequence.stopReason, expected.stopReason);
      if (params.logprobs !== null && params.logprobs !== undefined)
        assert.equal(sequence.logprobs!.length, tokens.length);
    }
    if (group.promptLogprobs !== null && !this.aborted.has(group) && group.error === null) {
      assert.deepEqual(
        group.promptLogprobs.slice(1).map(p => p!.tokenId),
        tokenIds.slice(1),
        'prompt log-probabilities',
      );
    }
  }
}
