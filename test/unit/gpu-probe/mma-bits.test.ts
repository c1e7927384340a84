/**
 * The sums of mma.m16n8k16, bit for bit. The emulator adds the exact products in the order of k in f32; a tensor core aligns and
 * rounds in its own way, which the files of a GPU record (test/fixtures/gpu/mma-*.json), so those are held to a bound only.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildEmulatedProbe, cannotBuild, runEmulated, withFolder } from './emulated-probe.ts';
import { positionOfA, positionOfB, positionOfD } from './ptx-layouts.ts';

type HalfType = 'f16' | 'bf16';
interface MmaBits {
  device: string;
  type: HalfType;
  tiles: { category: string; a: string; b: string; c: string; d: string }[];
}
/** One output of one tile: the products of its row and column, in the order of k. */
interface Sum {
  category: string;
  products: number[];
  accumulator: number;
  result: number;
  resultBits: number;
}

const fixtures = resolve(import.meta.dirname, '../../fixtures/gpu');
const types: HalfType[] = ['f16', 'bf16'];

function words(hex: string, digits: number): number[] {
  return Array.from({ length: hex.length / digits }, (_, i) =>
    Number.parseInt(hex.slice(i * digits, (i + 1) * digits), 16),
  );
}
function fromFloatBits(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!;
}
function toFloatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}
function fromHalfBits(type: HalfType, bits: number): number {
  if (type === 'bf16') return fromFloatBits(bits * 65536);
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

function sumsOf(file: MmaBits): Sum[] {
  return file.tiles.flatMap(tile => {
    const a: number[][] = Array.from({ length: 16 }, () => []);
    const b: number[][] = Array.from({ length: 8 }, () => []);
    for (const [slot, bits] of words(tile.a, 4).entries()) {
      const { row, column } = positionOfA(slot);
      a[row]![column] = fromHalfBits(file.type, bits);
    }
    for (const [slot, bits] of words(tile.b, 4).entries()) {
      const { row, column } = positionOfB(slot);
      b[column]![row] = fromHalfBits(file.type, bits);
    }
    const c = words(tile.c, 8);
    return words(tile.d, 8).map((resultBits, slot) => {
      const { row, column } = positionOfD(slot);
      const products = a[row]!.map((x, k) => x * b[column]![k]!);
      const result = fromFloatBits(resultBits);
      return { category: tile.category, products, accumulator: fromFloatBits(c[slot]!), result, resultBits };
    });
  });
}

/** Every category must hold what it is named for. */
function checkCategories(type: HalfType, sums: Sum[]): void {
  const of = (category: string) => sums.filter(sum => sum.category.startsWith(category));
  const isSubnormal = (x: number) => x !== 0 && Math.abs(x) < 2 ** -126;
  expect(of('subnormal accumulator').some(sum => isSubnormal(sum.accumulator))).toBe(true);
  expect(of('special').some(sum => Number.isNaN(sum.result))).toBe(true);
  expect(of('special').some(sum => Math.abs(sum.result) === Number.POSITIVE_INFINITY)).toBe(true);
  expect(of('special').filter(sum => Number.isFinite(sum.result)).length).toBeGreaterThan(100);
  const lost = of('cancellation').map(sum => Math.abs(exactSum(sum)) / magnitude(sum));
  expect(Math.min(...lost)).toBeLessThan(2 ** -9);
  expect(new Set(of('alignment').flatMap(sum => sum.products.filter(p => p !== 0).map(Math.abs))).size).toBe(24);
  if (type === 'f16') return;
  expect(of('subnormal results').some(sum => isSubnormal(sum.result))).toBe(true);
  expect(of('overflow').some(sum => sum.products.some(p => Math.abs(p) > 3.5e38))).toBe(true);
}

function exactSum(sum: Sum): number {
  return sum.products.reduce((all, product) => all + product, sum.accumulator);
}
function magnitude(sum: Sum): number {
  return sum.products.reduce((all, product) => all + Math.abs(product), Math.abs(sum.accumulator));
}

function finiteMagnitude(sum: Sum): number {
  const finite = [...sum.products, sum.accumulator].filter(Number.isFinite);
  return finite.reduce((all, term) => all + Math.abs(term), 0);
}

function readBits(folder: string, type: HalfType): MmaBits {
  return JSON.parse(readFileSync(join(folder, `mma-${type}.json`), 'utf8')) as MmaBits;
}

describe.skipIf(cannotBuild)('mma sums of the emulator (needs g++)', () => {
  const files = {} as Record<HalfType, MmaBits>;
  beforeAll(() => {
    buildEmulatedProbe();
    withFolder(folder => {
      expect(runEmulated(folder, ['fragments']).code).toBe(0);
      for (const type of types) files[type] = readBits(folder, type);
    });
  });

  it.each(types)('%s products are added in the order of k, in f32', type => {
    for (const sum of sumsOf(files[type])) {
      const expected = sum.products.reduce((all, p) => Math.fround(all + Math.fround(p)), sum.accumulator);
      if (Number.isNaN(expected)) expect(sum.result, sum.category).toBeNaN();
      else expect(sum.resultBits, sum.category).toBe(toFloatBits(expected));
    }
  });
  it.each(types)('%s tiles hold what their categories say', type => checkCategories(type, sumsOf(files[type])));
});

const absent = types.filter(type => !existsSync(join(fixtures, `mma-${type}.json`)));
describe.skipIf(absent.length > 0)(`mma sums of a GPU${absent.length > 0 ? ': not measured' : ''}`, () => {
  it.each(types)('%s: near the exact sum, and of its class where it is not finite', type => {
    const file = readBits(fixtures, type);
    expect(file.device).toMatch(/NVIDIA/);
    for (const sum of sumsOf(file)) {
      const exact = exactSum(sum);
      if (Number.isNaN(exact)) expect(sum.result, sum.category).toBeNaN();
      // Where finite terms overflow, their order decides between a number, an infinity and NaN.
      else if (finiteMagnitude(sum) >= 2 ** 127) continue;
      else if (!Number.isFinite(exact)) expect(sum.result, sum.category).toBe(exact);
      // 16 terms may each lose what lies below the 23rd bit of the largest, and the sum its last bit.
      else
        expect(Math.abs(sum.result - exact), sum.category).toBeLessThanOrEqual(magnitude(sum) * 2 ** -18 + 2 ** -126);
    }
  });
});
