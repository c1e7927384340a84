/** Requests with adapters on the symbolic device, whose keys and values depend on the adapter that is in the row's slot. */
import type { LLMEngine, LoraRequest, SamplingParams } from '@quire/core';
import { DeviceError, DeviceLostError } from '@quire/core/contract';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AdapterSlots } from '../../../packages/core/src/engine/adapter-slots.ts';
import { type Adapter, cacheRoot } from '../../../packages/core/src/engine/adapters.ts';
import { drain, prompt, type TestEngineOptions, testEngine, tokensOf } from './helpers.ts';

type Group = ReturnType<LLMEngine['add']>;

const greedy: SamplingParams = { temperature: 0, maxTokens: 8, ignoreEos: true };

/** The symbolic device tells adapters apart by their rank. */
const weights = (rank: number): Adapter['weights'] => ({ dtype: 'f32', rank, layers: new Map() });
const adapter = (id: number): Adapter => ({ id, name: `adapter ${id}`, weights: weights(id) });
const folder = (rank: number) => `${rank}`;

function adapterEngine(numAdapterSlots: number, options: TestEngineOptions = {}) {
  const { limits, ...rest } = options;
  return testEngine({
    ...rest,
    limits: { ...limits, numAdapterSlots },
    loadAdapter: async (location: LoraRequest['loraPath']) => weights(Number(location)),
  });
}

async function withAdapters(engine: LLMEngine, count: number): Promise<void> {
  for (let rank = 1; rank <= count; rank++)
    await engine.adapters.load({ loraName: `a${rank}`, loraPath: folder(rank) });
}

const lora = (rank: number) => (rank === 0 ? {} : { loraRequest: { loraName: `a${rank}` } });

/** What a request gives on an engine of its own. */
async function alone(tokens: readonly number[], params: SamplingParams, rank: number): Promise<number[]> {
  const { engine } = adapterEngine(1);
  await withAdapters(engine, rank);
  const group = engine.add(tokens, params, lora(rank));
  await drain(engine);
  return tokensOf(group);
}

describe('adapters of an engine', () => {
  it('compute their requests in one batch, each with its own', async () => {
    const { engine, executor } = adapterEngine(2);
    await withAdapters(engine, 2);
    const groups = [0, 1, 2].map(rank => engine.add(prompt(9), greedy, lora(rank)));
    await drain(engine);
    const outputs = groups.map(group => tokensOf(group));
    for (const rank of [0, 1, 2]) expect(outputs[rank]).toEqual(await alone(prompt(9), greedy, rank));
    expect(new Set(outputs.map(String)).size).toBe(3);
    expect(executor.submits).toBeLessThan(16);
  });

  it('wait for a slot, and take that of the least recently used', async () => {
    const { engine, executor } = adapterEngine(1);
    await withAdapters(engine, 3);
    const groups = [1, 2, 0, 3, 1].map(rank => engine.add(prompt(6, rank), greedy, lora(rank)));
    await engine.step();
    expect(engine.stats()).toMatchObject({ runningAdapters: ['a1'], waitingAdapters: ['a2', 'a3'] });
    // Two with the first adapter and the one without run together.
    expect(engine.scheduler.running.length).toBe(3);
    await drain(engine);
    expect(executor.adapters).toEqual([3]);
    for (const [i, rank] of [1, 2, 0, 3, 1].entries()) {
      expect(tokensOf(groups[i]!)).toEqual(await alone(prompt(6, rank), greedy, rank));
    }
  });

  it('share no cached blocks with the model, or with an adapter of the same name that came later', async () => {
    const { engine } = adapterEngine(1, { limits: { numBlocks: 64 } });
    await withAdapters(engine, 1);
    const ask = async (rank: number) => {
      const group = engine.add(prompt(20), greedy, lora(rank));
      await drain(engine);
      return group;
    };
    const [base, first, again] = [await ask(0), await ask(1), await ask(1)];
    expect([base, first, again].map(({ numCachedTokens }) => numCachedTokens)).toEqual([0, 0, 16]);
    expect(tokensOf(again)).toEqual(tokensOf(first));
    engine.adapters.remove('a1');
    await engine.adapters.load({ loraName: 'a1', loraPath: folder(7) });
    const other = await ask(1);
    expect(other.numCachedTokens).toBe(0);
    expect(tokensOf(other)).not.toEqual(tokensOf(first));
  });

  it('may be removed while requests run, which go on with them', async () => {
    const { engine } = adapterEngine(1, { config: { runAhead: 1, numSchedulerSteps: 1 } });
    await withAdapters(engine, 1);
    const running = engine.add(prompt(5), greedy, lora(1));
    const waiting = engine.add(prompt(5, 3), greedy, lora(1));
    await engine.step();
    engine.adapters.remove('a1');
    expect(() => engine.add(prompt(5), greedy, lora(1))).toThrow('There is no adapter "a1". Loaded: none.');
    await engine.adapters.load({ loraName: 'a1', loraPath: folder(5) });
    const next = engine.add(prompt(5), greedy, lora(1));
    await drain(engine);
    expect(tokensOf(running)).toEqual(await alone(prompt(5), greedy, 1));
    expect(tokensOf(waiting)).toEqual(await alone(prompt(5, 3), greedy, 1));
    expect(tokensOf(next)).toEqual(await alone(prompt(5), greedy, 5));
  });

  it('are brought to the device again when it is lost', async () => {
    let submits = 0;
    const { engine } = adapterEngine(2, {
      config: { numSchedulerSteps: 1 },
      executor: { fault: () => (++submits === 4 ? new DeviceLostError('lost') : null) },
    });
    await withAdapters(engine, 2);
    const groups = [1, 2].map(rank => engine.add(prompt(7), greedy, lora(rank)));
    await drain(engine);
    expect(engine.stats().numRecoveries).toBe(1);
    for (const rank of [1, 2]) expect(tokensOf(groups[rank - 1]!)).toEqual(await alone(prompt(7), greedy, rank));
  });

  it('let a request pass only so often that waits for a slot', async () => {
    const { engine } = adapterEngine(1, { limits: { maxNumSeqs: 2 }, config: { runAhead: 1, numSchedulerSteps: 1 } });
    await withAdapters(engine, 2);
    let passed = 0;
    // Of different lengths, so that they do not end together.
    const another = () => ({ ...greedy, maxTokens: passed % 2 === 0 ? 7 : 4 });
    engine.add(prompt(3), { ...greedy, maxTokens: 5 }, lora(1));
    const other = engine.add(prompt(3), greedy, lora(2));
    while (!other.isFinished) {
      // Two of the first adapter always wait, so its slot would never be free.
      while ([...engine.scheduler.waiting].filter(({ adapter }) => adapter?.name === 'a1').length < 2) {
        engine.add(prompt(3), another(), lora(1));
        passed++;
      }
      await engine.step();
    }
    expect(passed).toBeGreaterThan(32);
    expect(passed).toBeLessThan(80);
    engine.abortAll();
  });

  it('are refused with the reason', async () => {
    const plain = testEngine().engine;
    await expect(plain.adapters.load({ loraName: 'a', loraPath: '1' })).rejects.toThrow('takes no adapters');
    const { engine } = adapterEngine(1, { config: { maxCpuLoras: 2 } });
    await withAdapters(engine, 1);
    await expect(engine.adapters.load({ loraName: 'a1', loraPath: '1' })).rejects.toThrow('is loaded already');
    await expect(engine.adapters.load({ loraName: '', loraPath: '1' })).rejects.toThrow('lora_name must have 1 to');
    const both = [2, 3].map(rank => engine.adapters.load({ loraName: `a${rank}`, loraPath: folder(rank) }));
    const settled = await Promise.allSettled(both);
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect((settled[1] as PromiseRejectedResult).reason.message).toContain('all that maxCpuLoras allows');
    expect(() => engine.adapters.remove('none')).toThrow('There is no adapter "none". Loaded: "a1", "a2".');
    expect(engine.adapters.names).toEqual(['a1', 'a2']);
  });
});

interface Ask {
  rank: number;
  start: number;
  length: number;
  tokens: number;
  salt: string;
  n: number;
  steps: number;
}

const asks: fc.Arbitrary<Ask[]> = fc.array(
  fc.record({
    rank: fc.integer({ min: 0, max: 4 }),
    start: fc.constantFrom(1, 1, 2),
    length: fc.integer({ min: 1, max: 20 }),
    tokens: fc.integer({ min: 1, max: 9 }),
    salt: fc.constantFrom('', '', 'x', '1', '1\u0000'),
    n: fc.constantFrom(1, 1, 2),
    steps: fc.integer({ min: 0, max: 3 }),
  }),
  { minLength: 1, maxLength: 14 },
);

const setups = fc.record({
  slots: fc.integer({ min: 1, max: 3 }),
  numBlocks: fc.integer({ min: 10, max: 40 }),
  rows: fc.integer({ min: 1, max: 4 }),
  drafts: fc.constantFrom(0, 2),
  fault: fc.constantFrom(null, null, 'lost' as const, 'error' as const),
});

describe('whatever comes', () => {
  it('every request gives what it gives alone, and no step has more adapters than slots', async () => {
    const expected = new Map<string, number[]>();
    const reference = async (tokens: number[], params: SamplingParams, rank: number) => {
      const key = JSON.stringify([tokens, params.maxTokens, params.seed, rank]);
      const known = expected.get(key) ?? (await alone(tokens, { ...params, n: 1, cacheSalt: null }, rank));
      expected.set(key, known);
      return known;
    };
    await fc.assert(
      fc.asyncProperty(setups, asks, async ({ slots, numBlocks, rows, drafts, fault }, list) => {
        let submits = 0;
        const speculativeConfig =
          drafts === 0
            ? null
            : ({ method: 'ngram', numSpeculativeTokens: drafts, promptLookupMax: 3, promptLookupMin: 1 } as const);
        const { engine } = adapterEngine(slots, {
          limits: { numBlocks, maxNumSeqs: rows },
          config: { speculativeConfig },
          executor: {
            fault: () => {
              if (fault === null || ++submits % 9 !== 0 || submits > 40) return null;
              return fault === 'lost' ? new DeviceLostError('lost') : new DeviceError('failed');
            },
          },
        });
        await withAdapters(engine, 4);
        const groups: { group: Group; tokens: number[]; params: SamplingParams; rank: number }[] = [];
        for (const { rank, start, length, tokens: maxTokens, salt, n, steps } of list) {
          const tokens = prompt(length, start);
          const params = { temperature: 0.8, topK: 3, seed: 5, maxTokens, ignoreEos: true, n, cacheSalt: salt || null };
          groups.push({ group: engine.add(tokens, params, lora(rank)), tokens, params, rank });
          for (let i = 0; i < steps && engine.hasUnfinished; i++) {
            await engine.step();
            const running = engine.scheduler.running.flatMap(({ adapter }) => adapter ?? []);
            expect(new Set(running).size).toBeLessThanOrEqual(slots);
          }
        }
        await drain(engine);
        for (const { group, tokens, params, rank } of groups) {
          if (group.error !== null && fault === 'error') continue;
          for (const [i, { request }] of group.sequences.entries()) {
            const seed = (params.seed as number) + i;
            expect(request.outputTokens()).toEqual(await reference(tokens, { ...params, seed }, rank));
          }
        }
        expect(engine.scheduler.numFreeRows).toBe(rows);
      }),
      { numRuns: 60 },
    );
  });
});

describe('slots', () => {
  it('keep an adapter as long as it is used, and the last used ones after that', () => {
    const slots = new AdapterSlots(2);
    const [a, b, c] = [adapter(1), adapter(2), adapter(3)];
    expect(slots.take(a)).toBe(0);
    expect(slots.take(b)).toBe(1);
    expect(slots.take(a)).toBe(0);
    expect(slots.hasRoomFor(c)).toBe(false);
    expect(slots.takeLoads().map(({ slot, weights }) => [slot, weights.rank])).toEqual([
      [0, 1],
      [1, 2],
    ]);
    slots.release(0);
    slots.release(1);
    expect(slots.hasRoomFor(c)).toBe(true);
    slots.release(0);
    // The second was taken before the first was taken again.
    expect(slots.take(c)).toBe(1);
    expect(slots.take(a)).toBe(0);
    expect(slots.takeLoads().map(({ slot, weights }) => [slot, weights.rank])).toEqual([[1, 3]]);
  });

  it('no salt passes for an adapter in the prefix cache', () => {
    const roots = [
      cacheRoot(null, ''),
      cacheRoot(null, '1'),
      cacheRoot(null, '1\u0000'),
      cacheRoot(adapter(1), ''),
      cacheRoot(adapter(1), '1'),
      cacheRoot(adapter(11), ''),
    ];
    expect(new Set(roots).size).toBe(roots.length);
    expect(roots[0]).toBe('');
  });
});
