/**
 * Prefill on warpgroup products, on an emulated chip that has them: right by the reference device, the same bits in every order of
 * lanes, warps and blocks, and in chunks as at once; taken in steps with a long prompt, after a trial. Its launches tell.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CudaEmuOptions, type EmulatedChip, loadEmulator } from '@quire/backend-cuda';
import {
  type CaseOutcome,
  CaseRunner,
  type ConformanceCase,
  conformanceCases,
  runCrosscheck,
  sameBits,
} from '@quire/conformance';
import { SEQUENCE_WORDS, Sequence } from '@quire/core/contract';
import { decodeFloats, encodeFloats, noSizes, ProgramBuilder } from '@quire/core/program';
import { afterAll, expect, test } from 'vitest';
import { openTestCudaEmu, openTestReference } from '../support/devices.ts';

const MINUTES = 60_000;
const MEMORY_ALLOCATION = 2;

const launches = () => loadEmulator().counters().attentionPrefillWgmma?.launches ?? 0;
const openHopper = (chip: Partial<EmulatedChip>, options: Omit<CudaEmuOptions, 'chip'>) =>
  openTestCudaEmu({ chip: { ...chip, wgmma: true }, ...options });

/** 16-bit activations with a cache of their dtype, heads of 64 and 128, pages of a power of two; steps with more than decode rows. */
const taken = conformanceCases().filter(
  ({ op, name, sizes }) =>
    op === 'pagedAttention' &&
    /x(64|128) block=(4|16) (f16 kv=f16|bf16 kv=bf16)/.test(name) &&
    sizes.tokens > sizes.decodeSequences,
);

test('every case that it takes, on 3 SMs in shuffled order', { timeout: 15 * MINUTES }, async () => {
  const device = await openHopper({ smCount: 3, order: 'shuffled', seed: 1 }, { prefill: 'wgmma' });
  const before = launches();
  const report = await runCrosscheck({
    oracle: await openTestReference(),
    devices: [{ name: 'cuda-emu', device }],
    ops: ['pagedAttention'],
    cases: taken.map(({ index }) => index),
  });
  expect(report.failures).toEqual([]);
  expect(report.cases).toBe(taken.length);
  expect(taken.length).toBeGreaterThan(60);
  expect(launches() - before).toBe(taken.length);
});

test('the same bits on every chip in every order', { timeout: 15 * MINUTES }, async () => {
  const outcomes = new Map<ConformanceCase, CaseOutcome>();
  for (const [smCount, order] of [
    [3, 'shuffled'],
    [1, 'forward'],
    [132, 'reverse'],
  ] as const) {
    const device = await openHopper({ smCount, order, seed: smCount }, { prefill: 'wgmma' });
    const runner = new CaseRunner(device);
    for (const testCase of taken.filter(({ quick }) => quick)) {
      const outcome = await runner.run(testCase, testCase.inputs());
      const first = outcomes.get(testCase) ?? outcome;
      outcomes.set(testCase, first);
      expect(sameBits(outcome, first), `${testCase.name} on ${smCount} SMs`).toBeUndefined();
    }
    runner.dispose();
  }
});

const cacheFolder = mkdtempSync(join(tmpdir(), 'quire-trials-'));
afterAll(() => rmSync(cacheFolder, { recursive: true }));

const shape = { heads: 4, kvHeads: 1, headDim: 128, blockSize: 16 };
const [tokens, blocks] = [300, 20];

interface Attend {
  chip?: Partial<EmulatedChip>;
  options?: Omit<CudaEmuOptions, 'chip'>;
  queryLen?: number;
  contextLen?: number;
  beforeCompile?: () => void;
}

/** Outputs of the last tokens of a prompt whose keys and values are all in the cache. */
async function attend({
  chip = {},
  options = { batchInvariant: false, cacheFolder },
  queryLen = tokens,
  contextLen = tokens,
  beforeCompile = () => {},
}: Attend): Promise<Uint16Array> {
  const device = await openHopper(chip, options);
  const builder = new ProgramBuilder('attend', {
    ...noSizes,
    tokens,
    sequences: 1,
    maxQueryTokens: tokens,
    blocksPerSequence: blocks,
  });
  const width = (shape.heads + 2 * shape.kvHeads) * shape.headDim;
  const cacheShape = [blocks + 1, shape.kvHeads, shape.blockSize, shape.headDim];
  const declared = {
    qkv: ['bf16', ['tokens', width]],
    kCache: ['bf16', cacheShape],
    vCache: ['bf16', cacheShape],
    sequences: ['u32', ['sequences', SEQUENCE_WORDS]],
    blockTables: ['u32', [1, blocks]],
    out: ['bf16', ['tokens', shape.heads * shape.headDim]],
  } as const;
  for (const [name, [dtype, dimensions]] of Object.entries(declared)) builder.external(name, dtype, [...dimensions]);
  builder.add({
    op: 'pagedAttention',
    qkv: 'qkv',
    kCache: 'kCache',
    vCache: 'vCache',
    sequences: 'sequences',
    blockTables: 'blockTables',
    out: 'out',
    ...shape,
    scale: 0.3,
    window: 200,
    softCap: 0,
  });
  const program = builder.build();
  const sizes = { ...noSizes, tokens: queryLen, sequences: 1, maxQueryTokens: queryLen, blocksPerSequence: blocks };
  const floats = (count: number, seed: number) =>
    encodeFloats(
      'bf16',
      Float32Array.from({ length: count }, (_, i) => Math.sin((i + 1) * (seed + 0.7))),
    );
  const record = new Uint32Array(SEQUENCE_WORDS);
  record[Sequence.queryLen] = queryLen;
  record[Sequence.contextLen] = contextLen;
  record[Sequence.firstPosition] = contextLen - queryLen;
  const cacheElements = cacheShape.reduce((product, n) => product * n);
  const contents = {
    qkv: floats(tokens * width, 1).subarray((contextLen - queryLen) * width, contextLen * width),
    kCache: floats(cacheElements, 2),
    vCache: floats(cacheElements, 3),
    sequences: record,
    blockTables: Uint32Array.from({ length: blocks }, (_, i) => 1 + ((i * 7) % blocks)),
  };
  const tensors = Object.fromEntries(
    Object.entries(declared).map(([name, [dtype, dimensions]]) => {
      const rows = { tokens, sequences: 1 };
      const resolved = dimensions.map(n => (typeof n === 'number' ? n : rows[n]));
      return [name, device.createTensor({ name, dtype, shape: resolved, usage: 'state' })];
    }),
  );
  for (const [name, data] of Object.entries(contents)) device.write(tensors[name]!, data);
  await device.synchronize();
  beforeCompile();
  const executable = await device.compile(program, tensors);
  device.submit([{ executable, sizes }]);
  const out = new Uint16Array(queryLen * shape.heads * shape.headDim);
  await device.read(tensors.out!, 0, out);
  return out;
}

/** What `run` gives, and how often it launched the form on warpgroup products. */
async function counted<T>(run: () => Promise<T>): Promise<[T, number]> {
  const before = launches();
  return [await run(), launches() - before];
}

/** Of a trial, on the emulator. */
const TRIAL_RUNS = 2;

test('the same bits in chunks, with one warpgroup and with two', { timeout: 5 * MINUTES }, async () => {
  const options = { prefill: 'wgmma' as const };
  const [whole, launched] = await counted(() => attend({ options, chip: { smCount: 1 } }));
  expect(launched).toBe(1);
  const wide = { options, chip: { smCount: 132 } };
  const chunks = [await attend({ ...wide, queryLen: 171, contextLen: 171 }), await attend({ ...wide, queryLen: 129 })];
  expect(chunks.flatMap(chunk => [...chunk])).toEqual([...whole]);
  expect(new Set(whole).size).toBeGreaterThan(1000);
});

test('a trial goes in front of a long prompt', { timeout: 5 * MINUTES }, async () => {
  const [, launched] = await counted(() => attend({ queryLen: 128 }));
  expect(launched).toBe(TRIAL_RUNS + 1);
});

test('the other form computes a short prompt, and where bits have to be the same after any start', {
  timeout: 5 * MINUTES,
}, async () => {
  const [, short] = await counted(() => attend({ queryLen: 127 }));
  expect(short).toBe(TRIAL_RUNS);
  const [, invariant] = await counted(() => attend({ options: { batchInvariant: true } }));
  expect(invariant).toBe(0);
});

test('a trial that did not end is not made again', { timeout: 5 * MINUTES }, async () => {
  const options = { batchInvariant: false, cacheFolder: join(cacheFolder, 'own') };
  const [, first] = await counted(() => attend({ options }));
  expect(first).toBe(TRIAL_RUNS + 1);
  const file = join(options.cacheFolder, readdirSync(options.cacheFolder).find(name => name.startsWith('trials-'))!);
  const lines = readFileSync(file, 'utf8').split('\n');
  expect(lines.map(line => line.split('\t').at(-1))).toEqual(['begun', 'ended', '']);
  writeFileSync(file, `${lines[0]}\n`);
  const [, second] = await counted(() => attend({ options }));
  expect(second).toBe(0);
});

test('the other form computes where there is no memory for a trial', { timeout: 5 * MINUTES }, async () => {
  const mine = await attend({});
  // Setting the device, then memory.
  const beforeCompile = () => loadEmulator().injectError(MEMORY_ALLOCATION, 1);
  const [other, launched] = await counted(() => attend({ beforeCompile }));
  expect(launched).toBe(0);
  const [x, y] = [mine, other].map(bits => decodeFloats('bf16', bits));
  const largest = x!.reduce((most, value, i) => Math.max(most, Math.abs(value - y![i]!)), 0);
  expect(largest).toBeGreaterThan(0);
  // Values below 1: each form is within two units of roundoff.
  expect(largest).toBeLessThanOrEqual(4 * 2 ** -8);
});
