/**
 * Every kernel on the emulator: right by the quick conformance list, and the same bits on every chip in every order of lanes, warps
 * and blocks. `npm run test:cuda-emu:full` does both for the whole list.
 */
import { type EmulatedChip, openCudaEmuDevice } from '@quire/backend-cuda';
import {
  type CaseOutcome,
  CaseRunner,
  type ConformanceCase,
  conformanceCases,
  formatTable,
  runCrosscheck,
  sameBits,
} from '@quire/conformance';
import type { DTypeTable, OpName } from '@quire/core/contract';
import { offers, opNames } from '@quire/core/program';
import { expect, test } from 'vitest';
import { openTestCudaEmu, openTestReference } from '../support/devices.ts';

/** A GPU that is alone has no other stage to reach; test/cuda-emu/exchanges.test.ts runs these. */
const notOffered: readonly OpName[] = ['send', 'recv'];
const offered = opNames.filter(op => !notOffered.includes(op));

const chips: readonly EmulatedChip[] = [
  { smCount: 3, blocksPerSm: 2, order: 'shuffled', seed: 1 },
  { smCount: 1, blocksPerSm: 1, order: 'forward', seed: 0 },
  { smCount: 132, blocksPerSm: 2, order: 'shuffled', seed: 2 },
  { smCount: 132, blocksPerSm: 1, order: 'reverse', seed: 0 },
  { smCount: 3, blocksPerSm: 4, order: 'shuffled', seed: 3 },
];

test('every op on 3 SMs in shuffled order', async () => {
  const device = await openTestCudaEmu({ chip: chips[0]! });
  const report = await runCrosscheck({
    oracle: await openTestReference(),
    devices: [{ name: 'cuda-emu', device }],
    quick: true,
  });
  console.log(formatTable(report));
  expect(report.failures).toEqual([]);
  expect(report.ops.map(({ op }) => op)).toEqual(opNames);
  for (const { op, reasons } of report.ops) expect(reasons.length > 0, op).toBe(notOffered.includes(op));
  expect(report.cases).toBeGreaterThanOrEqual(1400);
});

/** Of the quick list every third case, at least ten of each op. */
function someCases(table: DTypeTable): ConformanceCase[] {
  const isOffered = ({ program }: ConformanceCase) => program.ops.every(op => offers(table, op, program) === true);
  return offered.flatMap(op => {
    const quick = conformanceCases().filter(testCase => testCase.op === op && testCase.quick && isOffered(testCase));
    return quick.filter((_, i) => i % Math.min(3, Math.floor(quick.length / 10)) === 0);
  });
}

/** Each case runs on the first chip and on two of the four others, which it shares with every second case. */
test('the same bits on every chip in every order', async () => {
  const { info } = await openTestCudaEmu();
  const cases = someCases(info.dtypes);
  expect(cases.length).toBeGreaterThan(400);
  const outcomes = new Map<ConformanceCase, CaseOutcome>();
  for (const [c, chip] of chips.entries()) {
    const device = await openCudaEmuDevice({ chip });
    const runner = new CaseRunner(device);
    for (const testCase of cases.filter((_, i) => c === 0 || c % 2 === i % 2)) {
      const outcome = await runner.run(testCase, testCase.inputs());
      const first = outcomes.get(testCase) ?? outcome;
      outcomes.set(testCase, first);
      const { smCount, order, seed } = chip;
      const name = `${testCase.op} ${testCase.index} (${testCase.name}) on ${smCount} SMs, ${order} ${seed}`;
      expect(sameBits(outcome, first), name).toBeUndefined();
    }
    runner.dispose();
    await device.dispose();
  }
});
