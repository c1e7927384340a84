/** What budgets are reckoned from: instructions in machine code, and blocks that an SM holds. */
import { describe, expect, test } from 'vitest';
import { blocksPerSm, chips, registersFor } from '../../../packages/backend-cuda/scripts/chips.mjs';
import { summarize } from '../../../packages/backend-cuda/scripts/instructions.mjs';

/** As nvcc 13.0 compiles budgets/calibration.cu for sm_80, and for sm_90 where it says so; each instruction is four words. */
const instructions = {
  /** LDG.E.128 on scoreboard 2 and 3, LDG.E on 2. */
  wideLoad2: '08087981 00000004 0c1e1d00 000ea400',
  wideLoad3: '10107981 00000004 0c1e1d00 000ee800',
  load2: '02037981 00000004 0c1e1900 000ea200',
  /** Arithmetic that waits for scoreboard 2, and for 3. */
  use2: '0e197210 0000000a 07ffe006 004fe400',
  use3: '14047210 00000010 07ffe003 008fe400',
  /** STG.E.128. */
  wideStore: '02007986 00000004 0c101d04 000fe200',
  /** A branch to the instruction in front of it, under a predicate. */
  branchBack: '00008947 ffffffe0 0383ffff 000fea00',
  /** The same for sm_90, eight words back. */
  branchBack90: '00f88947 fffffffc 0383ffff 001fea00',
  /** Of kernels on warpgroup products, sm_90: the fence in front of them, waits for all but one group and for all; FADD. */
  fenceOfProducts: '000079c5 00000000 00000000 000fe200',
  waitForAllButOne: '000079c5 00008000 00010100 000fd600',
  waitForAll: '000079c5 00008000 00010000 000fc600',
  add: '19020221 000000b8 00000100 040fe200',
  exit: '0000794d 00000000 03800000 000fea00',
};

function assemble(...names: (keyof typeof instructions)[]): Buffer {
  const words = names.flatMap(name => instructions[name].split(' ').map(word => Number.parseInt(word, 16)));
  return Buffer.from(Uint32Array.from(words).buffer);
}

describe('machine code', () => {
  test('tells accesses of 16 bytes from narrow ones', () => {
    expect(summarize(assemble('wideLoad2', 'load2', 'use2', 'wideStore', 'exit'), 'sm_80')).toMatchObject({
      instructions: 5,
      loads: 2,
      wideLoads: 1,
      stores: 1,
      wideStores: 1,
      local: 0,
      tensorCore: 0,
    });
  });

  test('has loads in flight until an instruction waits for their scoreboard', () => {
    const inFlight = (...names: (keyof typeof instructions)[]) =>
      summarize(assemble(...names), 'sm_80').loadBytesInFlight;
    expect(inFlight('wideLoad2', 'use2', 'wideLoad2', 'use2')).toBe(16);
    expect(inFlight('wideLoad2', 'wideLoad2', 'wideLoad3', 'use2', 'use3')).toBe(48);
    expect(inFlight('wideLoad2', 'wideLoad3', 'use2', 'load2', 'use3')).toBe(32);
    expect(inFlight('exit')).toBe(0);
  });

  test('tells what is added while products of warpgroups run', () => {
    const adds = (...names: (keyof typeof instructions)[]) => summarize(assemble(...names), 'sm_90').addsBesideProducts;
    expect(adds('fenceOfProducts', 'add', 'waitForAllButOne', 'add', 'add', 'waitForAll', 'add')).toBe(2);
    expect(adds('fenceOfProducts', 'waitForAllButOne', 'waitForAll', 'add', 'add')).toBe(0);
  });

  test('follows a loop once more from its end', () => {
    expect(summarize(assemble('wideLoad2', 'branchBack', 'use2'), 'sm_80').loadBytesInFlight).toBe(32);
    expect(summarize(assemble('wideLoad2', 'branchBack90', 'use2'), 'sm_90').loadBytesInFlight).toBe(32);
    expect(() => summarize(assemble('branchBack', 'exit'), 'sm_80')).toThrow('branches out of it');
  });
});

describe('an SM', () => {
  const hold = (threads: number, registers: number, shared = 0, chip = chips.sm_80) =>
    blocksPerSm(chip, { threads, registers, shared });

  test('holds blocks up to its registers, threads and block slots', () => {
    expect([hold(256, 64), hold(256, 65), hold(128, 255), hold(1024, 65)]).toEqual([4, 3, 2, 0]);
    expect([hold(1024, 32), hold(32, 16)]).toEqual([2, 32]);
  });

  test('holds blocks up to its shared memory, of which each takes 1 KB more', () => {
    expect([hold(128, 32, 81 * 1024), hold(128, 32, 81 * 1024 + 1), hold(128, 32, 163 * 1024)]).toEqual([2, 1, 1]);
    expect(hold(128, 32, 75 * 1024, chips.sm_90)).toBe(3);
  });

  test('holds so many blocks with the registers that are left to a thread', () => {
    for (const [threads, blocks] of [
      [256, 2],
      [128, 4],
      [512, 1],
    ] as const) {
      const registers = registersFor(chips.sm_80, threads, blocks);
      expect(hold(threads, registers)).toBeGreaterThanOrEqual(blocks);
      expect(hold(threads, registers + 1)).toBeLessThan(blocks);
    }
    expect(registersFor(chips.sm_80, 32, 1)).toBe(255);
  });
});
