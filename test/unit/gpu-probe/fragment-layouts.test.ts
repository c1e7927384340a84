/**
 * Fragment layouts, from the emulator now and from a GPU once one has been measured (test/fixtures/gpu/fragments.json), against
 * the formulas of the PTX ISA. The kernels rely on these layouts.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildEmulatedProbe, cannotBuild, runEmulated, withFolder } from './emulated-probe.ts';
import {
  ldmatrixOfIndices,
  type Position,
  positionOfA,
  positionOfB,
  positionOfD,
  slotWhere,
  transposeOfIndices,
} from './ptx-layouts.ts';

interface MmaLayout {
  oneHotA: number[][];
  oneHotB: number[][];
  accumulator: number[];
}
type RowOrders = Record<'rows in order' | 'rows (5 i + 3) % 32', number[]>;
interface Fragments {
  format: number;
  device: string;
  'mma f16': MmaLayout;
  'mma bf16': MmaLayout;
  ldmatrix: RowOrders;
  'ldmatrix trans': RowOrders;
  'movmatrix trans': number[];
}

const measured = resolve(import.meta.dirname, '../../fixtures/gpu/fragments.json');
const A_SLOTS = 256;
const B_SLOTS = 128;
const D_SLOTS = 128;

function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]!;
}

/** The slots of D that a single 1 in A or B fills, each with the number of the slot that it met. */
function expectedProducts(operand: 'A' | 'B', hot: number): number[] {
  const pairs: [number, number][] = [];
  const positionOfHot = operand === 'A' ? positionOfA(hot) : positionOfB(hot);
  const others = operand === 'A' ? B_SLOTS : A_SLOTS;
  for (let other = 0; other < others; other++) {
    const a: Position = operand === 'A' ? positionOfHot : positionOfA(other);
    const b: Position = operand === 'A' ? positionOfB(other) : positionOfHot;
    if (a.column !== b.row) continue;
    pairs.push([slotWhere(D_SLOTS, positionOfD, a.row, b.column), floatBits(other + 1)]);
  }
  return pairs.sort(([x], [y]) => x - y).flat();
}

function checkMma(layout: MmaLayout): void {
  expect(layout.oneHotA.length).toBe(A_SLOTS);
  expect(layout.oneHotB.length).toBe(B_SLOTS);
  for (const [slot, found] of layout.oneHotA.entries())
    expect(found, `A slot ${slot}`).toEqual(expectedProducts('A', slot));
  for (const [slot, found] of layout.oneHotB.entries())
    expect(found, `B slot ${slot}`).toEqual(expectedProducts('B', slot));
  const one = floatBits(1);
  expect(layout.accumulator).toEqual(Array.from({ length: D_SLOTS }, (_, slot) => [slot, one + slot]).flat());
}

function checkLdmatrix(found: RowOrders, transpose: boolean): void {
  const lanes = Array.from({ length: 32 }, (_, lane) => lane);
  expect(found['rows in order']).toEqual(ldmatrixOfIndices(lanes, transpose));
  const mixed = lanes.map(lane => (5 * lane + 3) % 32);
  expect(found['rows (5 i + 3) % 32']).toEqual(ldmatrixOfIndices(mixed, transpose));
}

function layoutTests(read: () => Fragments): void {
  it.each(['f16', 'bf16'] as const)('mma.m16n8k16 %s', type => checkMma(read()[`mma ${type}`]));
  it('ldmatrix.x4', () => checkLdmatrix(read().ldmatrix, false));
  it('ldmatrix.x4.trans', () => checkLdmatrix(read()['ldmatrix trans'], true));
  it('movmatrix.trans', () => expect(read()['movmatrix trans']).toEqual(transposeOfIndices()));
}

describe.skipIf(cannotBuild)('fragment layouts of the emulator (needs g++)', () => {
  let fragments: Fragments;
  beforeAll(() => {
    buildEmulatedProbe();
    fragments = withFolder(folder => {
      expect(runEmulated(folder, ['fragments']).code).toBe(0);
      return JSON.parse(readFileSync(join(folder, 'fragments.json'), 'utf8')) as Fragments;
    });
  });
  layoutTests(() => fragments);
});

describe.skipIf(!existsSync(measured))(
  `fragment layouts of a GPU${existsSync(measured) ? '' : ': not measured'}`,
  () => {
    const read = () => JSON.parse(readFileSync(measured, 'utf8')) as Fragments;
    it('was written by a GPU', () => expect(read().device).toMatch(/NVIDIA/));
    layoutTests(read);
  },
);
