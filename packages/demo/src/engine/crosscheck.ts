import { openWebGpuDevice } from '@quire/backend-webgpu';
import { breakDevice, type Fault, type OpReport, runCrosscheck } from '@quire/conformance';
import { DeviceError, type OpName, type TypedArray } from '@quire/core/contract';
import { opNames } from '@quire/core/program';
import { openReferenceDevice } from '@quire/core/reference';
import type { FromEngine } from './messages.ts';

/**
 * Runs the conformance cases of an op, or of all, on the visitor's adapter and compares them with the reference device, op by op. `broken`: two
 * entries of every block table are swapped on the way to the adapter, to see that the suite notices.
 */
export async function crosscheck(
  only: OpName | null,
  broken: boolean,
  tell: (message: FromEngine) => void,
): Promise<void> {
  if (navigator.gpu === undefined) throw new DeviceError('There is no WebGPU in this browser to be checked.');
  const oracle = await openReferenceDevice();
  const device = await openWebGpuDevice(navigator.gpu);
  const subject = broken ? breakDevice(device, misplaced) : device;
  let [cases, failed] = [0, 0];
  try {
    for (const op of only === null ? opNames : [only]) {
      let message: string | null = null;
      const report = await runCrosscheck({
        devices: [{ name: 'webgpu', device: subject }],
        oracle,
        ops: [op],
        quick: true,
        onCase: result => {
          if (result.status === 'failed') message ??= `${result.name}: ${result.message}`;
        },
      });
      cases += report.cases;
      failed += report.failed;
      for (const row of report.ops) if (row.cases > 0) tell({ kind: 'crosscheck', row: rowOf(row, message) });
    }
    tell({ kind: 'crosschecked', cases, failed, broken });
  } finally {
    await device.dispose();
    await oracle.dispose();
  }
}

function rowOf({ op, cases, failed, worst }: OpReport, message: string | null) {
  return { op, cases, failed, worst, message };
}

/** Every block table has two neighbouring entries swapped: the pages of a sequence are in the wrong order. */
const misplaced: Fault = { written: (data, { spec }) => (spec.name === 'blockTables' ? swapped(data) : data) };

/** Numbers of blocks are small; the suite's guard words around the table are not. */
const isBlock = (word: number) => word < 2 ** 16;

function swapped(table: TypedArray): TypedArray {
  const words = table.slice();
  const at = words.findIndex((word, i) => {
    const next = words[i + 1];
    return next !== undefined && next !== word && isBlock(word) && isBlock(next);
  });
  if (at >= 0) [words[at], words[at + 1]] = [words[at + 1]!, words[at]!];
  return words;
}
