import { summarize } from './instructions.mjs';
import { compileSource } from './kernel-compiler.mjs';
import { readUnit } from './kernel-resources.mjs';

/** Of budgets/calibration.cu, on every architecture, and of calibration_wgmma.cu. */
const expected = {
  calibrateWide: { loads: 1, wideLoads: 1, stores: 1, wideStores: 1, local: 0, loadBytesInFlight: 16 },
  calibrateNarrow: { loads: 1, wideLoads: 0, stores: 1, wideStores: 0, local: 0, loadBytesInFlight: 4 },
  calibrateInFlight: { loads: 4, wideLoads: 4, wideStores: 1, local: 0, loadBytesInFlight: 64 },
  calibrateTensor: { asyncCopies: 2, wideAsyncCopies: 2, matrixLoad: 1, tensorCore: 1, loads: 0, local: 0 },
  calibrateWgmma: { tensorCore: 3, loads: 1, wideLoads: 1, local: 0 },
  calibrateLocal: { loads: 2, stores: 1, tensorCore: 0 },
};

/** @throws Error where the compiler's machine code is not read aright. */
export async function calibrate(version) {
  const sources = ['budgets/calibration.cu', 'budgets/calibration_wgmma.cu'];
  const units = await Promise.all(sources.map(source => compileSource(source, version)));
  const kernels = units.flatMap(readUnit);
  for (const { architecture, name, code } of kernels) {
    const summary = summarize(code, architecture);
    const wrong = Object.entries(expected[name]).filter(([key, value]) => summary[key] !== value);
    if (name === 'calibrateLocal' && summary.local === 0) wrong.push(['local', 'some']);
    if (wrong.length === 0) continue;
    const what = wrong.map(([key, value]) => `${value} ${key} expected, ${summary[key]} found`).join('; ');
    throw new Error(`The machine code of ${version} is not read aright in ${name} for ${architecture}: ${what}.`);
  }
}
