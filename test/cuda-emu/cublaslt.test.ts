/** linear through cuBLASLt, over a stand-in that computes on the processor: operands, epilogues, and choices that are kept. */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type CudaDevice, type CudaEmuOptions, loadEmulator, openCudaEmuRank } from '@quire/backend-cuda';
import { formatTable, runCrosscheck } from '@quire/conformance';
import type { Device } from '@quire/core/contract';
import { encodeFloats, ProgramBuilder, quantizeRows } from '@quire/core/program';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTestCudaEmu, openTestReference } from '../support/devices.ts';
import { buildStubLibraries } from '../support/stub-libraries.ts';
import { createTensor, noSizes, readFloats } from './fixtures.ts';

describe('linear through cuBLASLt', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'quire-cublaslt-'));
    process.env.QUIRE_CUBLASLT = buildStubLibraries(folder);
  });
  afterAll(() => {
    process.env.QUIRE_CUBLASLT = undefined;
    rmSync(folder, { recursive: true });
  });
  const open = (options: CudaEmuOptions = {}) =>
    openTestCudaEmu({ batchInvariant: false, cacheFolder: join(folder, 'cache'), ...options });
  const products = () => loadEmulator().counters().cublasLtMatmul?.launches ?? 0;
  const choicesFile = (cache = join(folder, 'cache')) => join(cache, readdirSync(cache)[0]!);
  /** The last choice becomes another: which way is faster on the emulator is chance. */
  const chooseInFile = (cache: string, choice: string) =>
    writeFileSync(choicesFile(cache), readFileSync(choicesFile(cache), 'utf8').replace(/[^\t]*\n$/, `${choice}\n`));
  /** The first algorithm that the stand-in names. */
  const libraryChoice = ['64', ...new Array(7).fill('0')].join(' ');

  it('says which library it uses, and that its rows depend on their batch', async () => {
    const { name, capabilities } = (await open()).info;
    expect(name).toBe('CUDA emulator with cuBLASLt 13.0.0');
    expect(capabilities.batchInvariant).toBe(false);
  });

  it('conforms', async () => {
    const before = products();
    const devices = [{ name: 'cuda-emu', device: await open({ cacheFolder: join(folder, 'other') }) }];
    const report = await runCrosscheck({
      oracle: await openTestReference(),
      devices,
      ops: ['linear', 'gatedLinear'],
      quick: true,
    });
    console.log(formatTable(report));
    expect(report.failures).toEqual([]);
    expect(products() - before).toBeGreaterThan(20);
  });

  it('makes the gated output of many rows piece by piece', async () => {
    const cacheFolder = join(folder, 'pieces');
    await gatedLaunches(await open({ cacheFolder }));
    chooseInFile(cacheFolder, libraryChoice);
    expect(await gatedLaunches(await open({ cacheFolder }))).toBe(2);
  });

  it('multiplies q8 of very many rows as a 16-bit weight', async () => {
    const [rows, n, k] = [513, 24, 16];
    const product = async (device: Device) => {
      const builder = new ProgramBuilder('product', noSizes);
      builder.external('x', 'bf16', [rows, k]);
      builder.external('weight', 'q8', [n, k]);
      builder.external('out', 'f32', [rows, n]);
      builder.add({ op: 'linear', x: 'x', weight: 'weight', out: 'out', activation: 'none', outColumn: 0 });
      const x = createTensor(device, 'x', [rows, k], { dtype: 'bf16' });
      const weight = createTensor(device, 'weight', [n, k], { dtype: 'q8' });
      const out = createTensor(device, 'out', [rows, n]);
      const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(12.9898 * i));
      device.write(x, encodeFloats('bf16', numbers(rows * k)));
      device.write(weight, quantizeRows('q8', numbers(n * k), k));
      const executable = await device.compile(builder.build(), { x, weight, out });
      device.submit([{ executable, sizes: noSizes }]);
      return readFloats(device, out);
    };
    const expands = () => loadEmulator().counters().linearQuantExpand?.launches ?? 0;
    const before = expands();
    const found = await product(await open({ cacheFolder: join(folder, 'q8') }));
    expect(expands() - before).toBe(1);
    const expected = await product(await openTestReference());
    expect(Math.max(...found.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThan(1e-5);
  });

  it('times a shape once, and keeps the choice for other processes', async () => {
    expect(await launchesOf(await open())).toBeGreaterThan(1);
    expect(readFileSync(choicesFile(), 'utf8')).toMatch(
      /^CUDA emulator, driver 13000, cuBLASLt 13\.0\.0\tbf16 n64 k64 [^\t]* rows24\t(own|[0-9a-f]{16}( [0-9a-f]{16}){7})\n$/,
    );
    expect(await launchesOf(await open())).toBeLessThan(2);
  });

  it.each([
    ['own', 0],
    [libraryChoice, 1],
  ])('does as the file says: %s', async (choice, launches) => {
    chooseInFile(join(folder, 'cache'), choice);
    expect(await launchesOf(await open())).toBe(launches);
  });

  it.each([
    ['own', libraryChoice, 0],
    [libraryChoice, 'own', 2],
  ])('does on all ranks of a group as the file of rank 0 says: %s, not %s', async (first, second, launches) => {
    const ranks = await openRanks([first, second]);
    expect(await launchesOf(...ranks)).toBe(launches);
    for (const rank of ranks) await rank.dispose();
  });

  it('uses the library on no rank of a group where one has none', async () => {
    const ranks = await openRanks([libraryChoice, libraryChoice], 'libstub.so');
    expect(await launchesOf(...ranks)).toBe(0);
    for (const rank of ranks) await rank.dispose();
  });

  it('times again where the file is damaged or of another GPU', async () => {
    writeFileSync(
      choicesFile(),
      `CUDA emulator\nbf16\t\t\n${readFileSync(choicesFile(), 'utf8').replace('13000', '12000')}`,
    );
    expect(await launchesOf(await open())).toBeGreaterThan(1);
  });

  it('takes our own kernels where there is no memory for trials', async () => {
    const device = await open({ cacheFolder: join(folder, 'no memory') });
    const outOfMemory = 2;
    const step = await prepare(device);
    loadEmulator().injectError(outOfMemory, 0);
    expect(await productsOf(step)).toBe(0);
    expect(await launchesOf(device)).toBe(0);
  });

  it('goes on without a library that does not open, and says so', async () => {
    process.env.QUIRE_CUBLASLT = 'libstub.so';
    expect((await open()).info.name).toBe(
      'CUDA emulator without cuBLASLt: QUIRE_CUBLASLT is libstub.so, expected an absolute path',
    );
  });

  /** How often the library multiplies in a step of one gated product of more rows than a piece has. */
  async function gatedLaunches(device: Device): Promise<number> {
    const [rows, n, k] = [150, 1088, 16];
    const shapes = { x: [rows, k], weight: [2 * n, k], out: [rows, n] };
    const builder = new ProgramBuilder('gated', noSizes);
    for (const [name, shape] of Object.entries(shapes)) builder.external(name, 'bf16', shape);
    builder.add({ op: 'gatedLinear', x: 'x', weight: 'weight', out: 'out', activation: 'relu' });
    const bindings = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, createTensor(device, name, shape, { dtype: 'bf16' })]),
    );
    // Row r of x is r + 1 in each column; gates are 1, ups are 2: 16 (r + 1) times 32 (r + 1).
    const fill = (name: string, count: number, value: (i: number) => number) =>
      device.write(
        bindings[name]!,
        encodeFloats(
          'bf16',
          Float32Array.from({ length: count }, (_, i) => value(i)),
        ),
      );
    fill('x', rows * k, i => Math.floor(i / k) + 1);
    fill('weight', 2 * n * k, i => (i < n * k ? 1 : 2));
    const executable = await device.compile(builder.build(), bindings);
    const before = products();
    device.submit([{ executable, sizes: noSizes }]);
    const found = new Uint16Array(rows * n);
    await device.read(bindings.out!, 0, found);
    const expected = Float32Array.from({ length: rows * n }, (_, i) => 512 * (Math.floor(i / n) + 1) ** 2);
    expect(found).toEqual(encodeFloats('bf16', expected));
    return products() - before;
  }

  /** The ranks of a group, with a file of choices for each, in which the last is this one. `library`: the last rank's. */
  async function openRanks(choices: readonly string[], library?: string): Promise<CudaDevice[]> {
    const { QUIRE_CUBLASLT: ofOthers } = process.env;
    const ranks = [];
    for (const [localRank, choice] of choices.entries()) {
      const cacheFolder = mkdtempSync(join(folder, 'rank-'));
      copyFileSync(choicesFile(), join(cacheFolder, basename(choicesFile())));
      chooseInFile(cacheFolder, choice);
      if (localRank === choices.length - 1) process.env.QUIRE_CUBLASLT = library ?? ofOthers;
      ranks.push(await openCudaEmuRank({ localRank, batchInvariant: false, cacheFolder }));
    }
    process.env.QUIRE_CUBLASLT = ofOthers;
    const id = ranks[0]!.groupId(ranks.length);
    const alone = { rank: 0, size: 1, id: new Uint8Array() };
    const joining = ranks.map(({ device }, rank) => device.joinGroup({ rank, size: ranks.length, id }, alone, false));
    await Promise.all(joining);
    return ranks.map(({ device }) => device);
  }

  /** How often the library multiplies in the first step of one product of 20 rows, on all devices. */
  async function launchesOf(...devices: readonly Device[]): Promise<number> {
    const steps = await Promise.all(devices.map(prepare));
    return productsOf(() => Promise.all(steps.map(step => step())));
  }

  async function productsOf(step: () => Promise<unknown>): Promise<number> {
    const before = products();
    await step();
    return products() - before;
  }

  /** A step of one product of 20 rows, to be called. */
  async function prepare(device: Device) {
    const builder = new ProgramBuilder('product', noSizes);
    builder.external('x', 'bf16', [20, 64]);
    builder.external('weight', 'bf16', [64, 64]);
    builder.external('out', 'f32', [20, 64]);
    builder.add({ op: 'linear', x: 'x', weight: 'weight', out: 'out', activation: 'none', outColumn: 0 });
    const [x, weight] = [20, 64].map(rows => createTensor(device, 'x', [rows, 64], { dtype: 'bf16' }));
    const out = createTensor(device, 'out', [20, 64]);
    device.write(x!, encodeFloats('bf16', new Float32Array(20 * 64).fill(0.5)));
    device.write(weight!, encodeFloats('bf16', new Float32Array(64 * 64).fill(3)));
    const executable = await device.compile(builder.build(), { x: x!, weight: weight!, out });
    await device.synchronize();
    return async () => {
      device.submit([{ executable, sizes: noSizes }]);
      expect(new Set(await readFloats(device, out))).toEqual(new Set([96]));
    };
  }
});
