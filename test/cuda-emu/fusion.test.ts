/**
 * Norms, or the choice of experts, and what follows as one launch: the bits of the operations one by one, at every number of rows, on
 * every chip. That they are right, the conformance list says.
 */
import { type EmulatedChip, loadEmulator, openCudaEmuDevice } from '@quire/backend-cuda';
import { CaseRunner, type ConformanceCase, conformanceCases, sameBits } from '@quire/conformance';
import type { Op, Program, ProgramTensor } from '@quire/core/contract';
import { expect, test } from 'vitest';

const chips: readonly EmulatedChip[] = [
  { smCount: 3, blocksPerSm: 2, order: 'shuffled', seed: 4 },
  { smCount: 1, blocksPerSm: 1, order: 'forward', seed: 0 },
  { smCount: 132, blocksPerSm: 1, order: 'reverse', seed: 0 },
];
const fronts = ['rmsNorm', 'layerNorm', 'normColumns', 'moeRoute'];
const sequences = conformanceCases().filter(({ program: { ops } }) => ops.length > 1 && fronts.includes(ops[0]!.op));

/** With another operation between any two, which nobody joins. */
const apart = new Map<Program, Program>();
function separately(testCase: ConformanceCase): ConformanceCase {
  const { program } = testCase;
  if (!apart.has(program)) {
    const tensors: Record<string, ProgramTensor> = { ...program.tensors };
    const ops = program.ops.flatMap((op, i): Op[] => {
      const x = 'x' in program.tensors ? 'x' : 'qkv';
      tensors[`between${i}`] = { ...tensors[x]!, kind: 'temporary' };
      return [op, { op: 'scale', x, out: `between${i}`, factor: 1, softCap: 0 }];
    });
    apart.set(program, { ...program, tensors, ops });
  }
  return { ...testCase, program: apart.get(program)! };
}

const frontLaunches = () => {
  const counters = loadEmulator().counters();
  return fronts.reduce((sum, name) => sum + (counters[name]?.launches ?? 0), 0);
};

/** Few rows go together where the rows of norms and layers are whole packs of 16 bytes, and the layer's weight has no codes. */
function goesTogether({ name, op, sizes }: ConformanceCase): boolean {
  if (op === 'ropeKvWrite' && name.startsWith('normed')) return !name.includes('x10 ');
  return sizes.tokens <= 8 && !/ K=(35|20|68|132) |\*q\d/.test(name);
}

test.each(chips)('one launch has the bits of several on $smCount SMs', async chip => {
  const device = await openCudaEmuDevice({ chip });
  const [joint, separate] = [new CaseRunner(device), new CaseRunner(device)];
  let joined = 0;
  for (const testCase of sequences) {
    const inputs = testCase.inputs();
    const before = frontLaunches();
    const outcome = await joint.run(testCase, inputs);
    const inOne = frontLaunches() === before;
    const all = testCase.program.ops.filter(({ op }) => fronts.includes(op)).length;
    const name = `${testCase.op} ${testCase.index} (${testCase.name})`;
    expect(sameBits(outcome, await separate.run(separately(testCase), inputs)), name).toBeUndefined();
    expect(frontLaunches() - before, name).toBe(inOne ? all : 2 * all);
    expect(inOne, name).toBe(goesTogether(testCase));
    joined += Number(inOne);
  }
  expect(joined).toBeGreaterThan(100);
  joint.dispose();
  separate.dispose();
  await device.dispose();
});
