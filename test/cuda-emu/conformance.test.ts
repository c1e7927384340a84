/**
 * Every kernel on the emulator: right by the conformance list, and the same bits on every chip in every order of lanes, warps and
 * blocks. QUIRE_CONFORMANCE=full runs all cases on all chips.
 */
import { type EmulatedChip, openCudaEmuDevice } from '@quire/backend-cuda';
import { CaseRunner, type ConformanceCase, conformanceCases, formatTable, runCrosscheck } from '@quire/conformance';
import type { OpName, TypedArray } from '@quire/core/contract';
import { opNames } from '@quire/core/program';
import { expect, test } from 'vitest';
import { openTestCudaEmu, openTestReference } from '../support/devices.ts';

/** Ops of groups of devices, until NCCL connects them: crosscheck shows them with the reason. */
const notOffered: readonly OpName[] = ['vocabParallelEmbed', 'allReduce', 'allGather', 'send', 'recv', 'broadcast'];
const full = process.env.QUIRE_CONFORMANCE === 'full';
const MINUTE = 60_000;
const offered = opNames.filter(op => !notOffered.includes(op));

const chips: readonly EmulatedChip[] = [
  { smCount: 3, blocksPerSm: 2, order: 'shuffled', seed: 1 },
  { smCount: 1, blocksPerSm: 1, order: 'forward', seed: 0 },
  { smCount: 132, blocksPerSm: 2, order: 'shuffled', seed: 2 },
  { smCount: 132, blocksPerSm: 1, order: 'reverse', seed: 0 },
  { smCount: 3, blocksPerSm: 4, order: 'shuffled', seed: 3 },
];
const nameOf = ({ smCount, order, seed }: EmulatedChip) => `${smCount} SMs, ${order} ${seed}`;

test.each(full ? chips.slice(0, 3) : chips.slice(0, 1))(
  'every op on $smCount SMs, $order',
  { timeout: (full ? 60 : 5) * MINUTE },
  async chip => {
    const device = await openTestCudaEmu({ chip });
    const report = await runCrosscheck({
      oracle: await openTestReference(),
      devices: [{ name: 'cuda-emu', device }],
      quick: !full,
    });
    console.log(formatTable(report));
    expect(report.failures).toEqual([]);
    expect(report.ops.map(({ op }) => op)).toEqual(opNames);
    for (const { op, reasons } of report.ops) expect(reasons.length > 0, op).toBe(notOffered.includes(op));
    expect(report.cases).toBeGreaterThanOrEqual(full ? 2500 : 1400);
  },
);

/** Of the quick list every third case, at least ten of each op. */
function someCases(): ConformanceCase[] {
  return offered.flatMap(op => {
    const quick = conformanceCases().filter(testCase => testCase.op === op && testCase.quick);
    return quick.filter((_, i) => i % Math.min(3, Math.floor(quick.length / 10)) === 0);
  });
}

test('the same bits on every chip in every order', { timeout: (full ? 120 : 5) * MINUTE }, async () => {
  const cases = full ? conformanceCases().filter(({ op }) => offered.includes(op)) : someCases();
  expect(cases.length).toBeGreaterThan(400);
  const outputs = new Map<ConformanceCase, Readonly<Record<string, TypedArray>>>();
  for (const chip of chips) {
    const device = await openCudaEmuDevice({ chip });
    const runner = new CaseRunner(device);
    for (const testCase of cases) {
      const found = (await runner.run(testCase, testCase.inputs())).outputs;
      const first = outputs.get(testCase);
      if (first === undefined) outputs.set(testCase, found);
      else expectSameBits(found, first, `${testCase.op} ${testCase.index} (${testCase.name}), ${nameOf(chip)}`);
    }
    runner.dispose();
    await device.dispose();
  }
});

function expectSameBits(found: Readonly<Record<string, TypedArray>>, first: typeof found, name: string): void {
  for (const [tensor, values] of Object.entries(found)) {
    const [a, b] = [bytesOf(values), bytesOf(first[tensor]!)];
    if (a.equals(b)) continue;
    const at = a.findIndex((byte, i) => byte !== b[i]);
    const size = values.BYTES_PER_ELEMENT;
    expect.fail(`${name}: ${tensor}[${Math.floor(at / size)}] differs from the one on ${nameOf(chips[0]!)}`);
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: TypedArray): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
