/**
 * A norm and the linear layer behind it as one launch: the bits of two launches, at every number of rows, on every chip. That either
 * is right, the conformance list says.
 */
import { type EmulatedChip, loadEmulator, openCudaEmuDevice } from '@quire/backend-cuda';
import { CaseRunner, type ConformanceCase, conformanceCases, sameBits } from '@quire/conformance';
import type { Program } from '@quire/core/contract';
import { expect, test } from 'vitest';

const chips: readonly EmulatedChip[] = [
  { smCount: 3, blocksPerSm: 2, order: 'shuffled', seed: 4 },
  { smCount: 1, blocksPerSm: 1, order: 'forward', seed: 0 },
  { smCount: 132, blocksPerSm: 1, order: 'reverse', seed: 0 },
];
const MINUTES = 60_000;
const pairs = conformanceCases().filter(({ program }) => program.tensors.normed?.kind === 'temporary');

/** With the normed rows where others may read them: two launches. */
const apart = new Map<Program, Program>();
function twoLaunches(testCase: ConformanceCase): ConformanceCase {
  const { program } = testCase;
  const { normed, ...others } = program.tensors;
  if (!apart.has(program)) {
    apart.set(program, { ...program, tensors: { ...others, normed: { ...normed!, kind: 'external' } } });
  }
  return { ...testCase, program: apart.get(program)! };
}

const normLaunches = () => {
  const counters = loadEmulator().counters();
  return (counters.rmsNorm?.launches ?? 0) + (counters.layerNorm?.launches ?? 0);
};

test.each(chips)('one launch has the bits of two on $smCount SMs', { timeout: 10 * MINUTES }, async chip => {
  const device = await openCudaEmuDevice({ chip });
  const [joint, separate] = [new CaseRunner(device), new CaseRunner(device)];
  let joined = 0;
  for (const testCase of pairs) {
    const inputs = testCase.inputs();
    const before = normLaunches();
    const outcome = await joint.run(testCase, inputs);
    const inOne = normLaunches() === before;
    const name = `${testCase.op} ${testCase.index} (${testCase.name})`;
    expect(sameBits(outcome, await separate.run(twoLaunches(testCase), inputs)), name).toBeUndefined();
    expect(normLaunches() - before, name).toBe(inOne ? 1 : 2);
    expect(inOne, name).toBe(testCase.sizes.tokens <= 8 && !/ K=(35|20) /.test(testCase.name));
    joined += Number(inOne);
  }
  expect(joined).toBeGreaterThan(60);
  joint.dispose();
  separate.dispose();
  await device.dispose();
});
