/**
 * The logits of a request, bit for bit, alone and among others: in random batches, in chunks, after prefix hits and after
 * preemption. QUIRE_INVARIANCE_PROMPTS=1000 npm run test:invariance is the long run.
 */
import type { LLMEngine, LLMEngineOptions, LogitsProcessor } from '@quire/core';
import type { Device, SubmitStep } from '@quire/core/contract';
import { describe, expect, test } from 'vitest';
import { openTestDevice, requiredDevices, type TestDeviceName } from '../support/devices.ts';
import { tinyEngine } from '../support/tiny-engine.ts';
import { tokensOf } from '../unit/engine/helpers.ts';

const TOKENS = 64;
const MOST = 64;
const long = Number(process.env.QUIRE_INVARIANCE_PROMPTS ?? 0);
const counts: Record<TestDeviceName, number> = { reference: 24, webgpu: 5, 'cuda-emu': 8 };

type Group = ReturnType<LLMEngine['add']>;

/** A seeded generator (mulberry32) of integers below `bound`. */
function randomInts(seed: number): (bound: number) => number {
  let state = seed;
  return bound => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % bound;
  };
}

/** Half of the prompts begin like an earlier one. */
function randomPrompts(count: number): number[][] {
  const random = randomInts(7);
  const prompts: number[][] = [];
  for (let i = 0; i < count; i++) {
    const own = Array.from({ length: 4 + random(24) }, () => 3 + random(93));
    const shared = i > 0 && random(2) === 0 ? prompts[random(i)]!.slice(0, 16) : [];
    prompts.push([...shared, ...own]);
  }
  return prompts;
}

/** FNV-1a over the bits of each position's logits. A position that was computed twice must have the same bits twice. */
function record(into: number[]): LogitsProcessor {
  return ({ outputTokenIds }, logits) => {
    let hash = 0x811c9dc5;
    for (const word of new Uint32Array(logits.buffer, logits.byteOffset, logits.length)) {
      hash = Math.imul(hash ^ word, 0x01000193);
      hash ^= hash >>> 15;
    }
    const at = outputTokenIds.length;
    into[at] = (into[at] ?? hash >>> 0) === hash >>> 0 ? hash >>> 0 : -1;
  };
}

function add(engine: LLMEngine, prompt: number[], hashes: number[]): Group {
  return engine.add(prompt, { temperature: 0, maxTokens: TOKENS, ignoreEos: true, logitsProcessors: [record(hashes)] });
}

interface Run {
  hashes: number[][];
  tokens: number[][];
}

async function alone(device: Device, prompts: readonly number[][]): Promise<Run> {
  const engine = await tinyEngine(device, {
    maxNumSeqs: 1,
    enablePrefixCaching: false,
    maxModelLen: 128,
    maxNumBatchedTokens: 128,
  });
  const hashes = prompts.map((): number[] => []);
  const tokens: number[][] = [];
  for (const [i, prompt] of prompts.entries()) {
    const group = add(engine, prompt, hashes[i]!);
    while (engine.hasUnfinished) await engine.step();
    tokens.push(tokensOf(group));
  }
  await engine.dispose();
  return { hashes, tokens };
}

/** Requests arrive in random numbers, while the cache has room for a part of them and a step for a part of a prompt. */
async function together(
  device: Device,
  prompts: readonly number[][],
  options: Partial<LLMEngineOptions> = {},
): Promise<Run> {
  const random = randomInts(11);
  const most = Math.min(MOST, prompts.length);
  const numGpuBlocksOverride = 32 + 5 * most;
  const config = { maxNumSeqs: most, maxModelLen: 128, maxNumBatchedTokens: most + 9, numGpuBlocksOverride };
  const engine = await tinyEngine(device, config, options);
  const hashes = prompts.map((): number[] => []);
  const groups: Group[] = [];
  while (groups.length < prompts.length || engine.hasUnfinished) {
    const arrivals = random(4) === 0 ? random(most) + 1 : 0;
    for (let n = 0; n < arrivals && groups.length < prompts.length; n++) {
      groups.push(add(engine, prompts[groups.length]!, hashes[groups.length]!));
    }
    if (engine.hasUnfinished) await engine.step();
  }
  const { numPreemptions, prefixCacheHits } = engine.stats();
  if (prompts.length > 2) {
    expect(numPreemptions).toBeGreaterThan(0);
    expect(prefixCacheHits).toBeGreaterThan(0);
  }
  await engine.dispose();
  return { hashes, tokens: groups.map(group => tokensOf(group)) };
}

/** How many requests have other logits, at any position, in the two runs. */
function differences(a: Run, b: Run): number {
  return a.hashes.filter((expected, i) => {
    const found = b.hashes[i]!;
    const sameLogits = expected.length === found.length && expected.every((hash, j) => hash === found[j]);
    return !sameLogits || a.tokens[i]!.join() !== b.tokens[i]!.join();
  }).length;
}

/** A device that gives other bits to rows that have company. */
function batchVariant(device: Device): Device {
  let sequences = 0;
  return new Proxy(device, {
    get(target, key) {
      if (key === 'submit') {
        return (steps: readonly SubmitStep[], times?: number) => {
          sequences = steps.at(-1)!.sizes.sequences;
          target.submit(steps, times);
        };
      }
      if (key === 'read') {
        return async (...args: Parameters<Device['read']>) => {
          const isShared = sequences > 1 && args[0].spec.name === 'logits';
          await target.read(...args);
          if (isShared) new Uint32Array(args[2].buffer)[0]! ^= 1;
        };
      }
      const value = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe.each(requiredDevices())('on %s', name => {
  const prompts = randomPrompts(long || counts[name]);

  test(
    `${prompts.length} prompts x ${TOKENS} tokens have the same logits alone and in batches`,
    async () => {
      const device = await openTestDevice(name);
      const expected = await alone(device, prompts);
      const found = await together(device, prompts);
      const changed = differences(expected, found);
      console.log(`${name}: ${changed} of ${prompts.length} requests have other logits in a batch`);
      expect(changed).toBe(0);
    },
    long > 0 ? 3_600_000 : 240_000,
  );
});

test('a difference of one bit in a batch is seen', async () => {
  const device = batchVariant(await openTestDevice('reference'));
  const prompts = randomPrompts(6);
  const expected = await alone(device, prompts);
  const found = await together(device, prompts);
  expect(differences(expected, found)).toBeGreaterThan(0);
});
