/** The oracle itself: every op of the reference device against its formula, and the list of cases against its promises. */
import { CaseRunner, type ConformanceCase, conformanceCases, poison } from '@quire/conformance';
import { type ElementDType, isCacheDType, type OpName, type TypedArray } from '@quire/core/contract';
import { decodeFloats, elementCount, opNames } from '@quire/core/program';
import { describe, expect, test } from 'vitest';
import { openTestReference } from '../support/devices.ts';
import { evaluate } from './formulas/index.ts';
import type { Values } from './formulas/tensors.ts';
import { cacheCodeValues } from './src/caches.ts';

/** Elements of a case above which the formulas, which are written for reading, take too long. */
const MAX_ELEMENTS = 60_000;
/** Quadratic in the vocabulary. */
const maxElements: Partial<Record<OpName, number>> = { filterLogits: 3000 };

describe('the list of cases', () => {
  test('has at least 30 cases of every op and 1,500 in all', () => {
    const counts = new Map(opNames.map(op => [op, 0]));
    for (const { op } of conformanceCases()) counts.set(op, counts.get(op)! + 1);
    for (const [op, count] of counts) expect(count, op).toBeGreaterThanOrEqual(30);
    expect(conformanceCases().length).toBeGreaterThanOrEqual(1500);
  });

  test('has quick cases of every op', () => {
    for (const op of opNames)
      expect(
        conformanceCases().some(testCase => testCase.op === op && testCase.quick),
        op,
      ).toBe(true);
  });

  test('gives the same data at every call', () => {
    for (const testCase of conformanceCases().filter(({ index }) => index % 10 === 0)) {
      if (totalElements(testCase) > MAX_ELEMENTS) continue;
      const again = testCase.inputs();
      for (const [tensor, values] of Object.entries(testCase.inputs())) {
        const [a, b] = [values, again[tensor]!].map(({ buffer, byteOffset, byteLength }) =>
          Buffer.from(buffer, byteOffset, byteLength),
        );
        expect(a!.equals(b!), `${testCase.op} ${testCase.name} ${tensor}`).toBe(true);
      }
    }
  });

  test('covers real vocabularies, head dims, group sizes, dtypes and grids', () => {
    const names = conformanceCases().map(({ op, name }) => `${op} ${name}`);
    for (const op of ['sample', 'argmax', 'logProbs', 'filterLogits', 'penalties', 'biasLogits', 'maskLogits']) {
      for (const vocabulary of [50_272, 151_936])
        expect(names.some(name => name.startsWith(`${op} vocab=${vocabulary}`))).toBe(true);
    }
    for (const headDim of [32, 64, 80, 96, 128]) {
      expect(
        names.some(name => name.startsWith('pagedAttention') && name.includes(`x${headDim} `)),
        `${headDim}`,
      ).toBe(true);
    }
    const groups = names.flatMap(name => /^pagedAttention heads=(\d+)\/(\d+)x/.exec(name)?.slice(1).map(Number) ?? []);
    const sizes = new Set(groups.flatMap((heads, i) => (i % 2 === 0 ? [heads / groups[i + 1]!] : [])));
    for (let size = 1; size <= 8; size++) expect([...sizes], 'query heads per KV head').toContain(size);
  });
});

describe('the reference device', () => {
  test.each(opNames)(
    '%s is its formula',
    async op => {
      const runner = new CaseRunner(await openTestReference());
      const cases = conformanceCases().filter(
        testCase => testCase.op === op && totalElements(testCase) <= (maxElements[op] ?? MAX_ELEMENTS),
      );
      expect(cases.length).toBeGreaterThanOrEqual(20);
      for (const testCase of cases) {
        const { outputs, damage } = await runner.run(testCase, testCase.inputs());
        expect(damage, testCase.name).toBeUndefined();
        const expected = evaluate(testCase);
        for (const [tensor, raw] of Object.entries(outputs)) compare(testCase, tensor, raw, expected.values(tensor));
      }
      runner.dispose();
    },
    120_000,
  );
});

function totalElements({ program, sizes }: ConformanceCase): number {
  const elements = Object.values(program.tensors).map(({ shape }) => elementCount(shape, sizes));
  const [product] = program.ops.map(op =>
    op.op === 'linear' || op.op === 'gatedLinear' || op.op === 'groupedLinear'
      ? elementCount(program.tensors[op.weight]!.shape, sizes) * sizes.tokens
      : 0,
  );
  return elements.reduce((sum, count) => sum + count, 0) + product! / 4;
}

/** Half a unit in the last place, relative, and of the smallest number. */
const roundings: Readonly<Record<ElementDType, { unit: number; least: number }>> = {
  f32: { unit: 2 ** -24, least: 2 ** -150 },
  f16: { unit: 2 ** -11, least: 2 ** -25 },
  bf16: { unit: 2 ** -8, least: 2 ** -134 },
  // A quotient may lie on either side of a tie.
  i8: { unit: 0, least: 1 },
  f8e4m3: { unit: 2 ** -3, least: 2 ** -9 },
  u32: { unit: 0, least: 0 },
};

/** Float outputs are the formula's value rounded once; integers are equal; what is not written keeps its poison. */
function compare(testCase: ConformanceCase, tensor: string, raw: TypedArray, expected: Values): void {
  const { name, op, program } = testCase;
  if (tensor === 'sampled') {
    compareSampled(testCase, raw as Uint32Array, expected);
    return;
  }
  const { dtype } = program.tensors[tensor]!;
  const actual = dtype === 'u32' ? raw : isCacheDType(dtype) ? cacheCodeValues(dtype, raw) : decodeFloats(dtype, raw);
  const bits = dtype === 'f32' ? new Uint32Array(raw.buffer, raw.byteOffset, raw.length) : raw;
  const largest = expected.reduce<number>((max, value) => Math.max(max, Math.abs(value ?? 0)), 0);
  const { unit, least } = roundings[dtype as ElementDType];
  expect(actual.length, `${op} ${name} ${tensor}`).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const value = expected[i];
    const where = `${op} ${name} ${tensor}[${i}]`;
    if (value === undefined) {
      if (bits[i] !== poison[dtype]) expect.fail(`${where}: written with ${actual[i]}, and must not be`);
      continue;
    }
    const error = Math.abs(actual[i]! - value);
    const bound = dtype === 'u32' ? 0 : unit * Math.abs(value) * (1 + 1e-9) + 1e-13 * largest + least;
    if (!(error <= bound) && !Object.is(actual[i], value))
      expect.fail(`${where}: expected ${value}, found ${actual[i]}`);
  }
}

/** The check of the case, because a row that is not finite may have any id. */
function compareSampled({ name, checks, inputs, sizes }: ConformanceCase, actual: Uint32Array, formula: Values): void {
  const expected = Uint32Array.from(formula, value => value!);
  expect(checks.sampled!.compare({ inputs: inputs(), sizes, expected, actual }), name).toEqual({ worst: 0 });
}
