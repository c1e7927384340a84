/** Builds and runs the two programs of budgets/: what is launched, by nvcc's host code, and what it accesses, on the emulator. */
import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { inParallel } from './in-parallel.mjs';
import { compilerVersion, nvcc } from './kernel-compiler.mjs';
import { compileOnce, run } from './object-cache.mjs';
import { hotSources, listSources, packageFolder } from './sources.mjs';

const out = join(packageFolder, 'build', 'budgets');
const cases = listSources('budgets', 'cases.cc');
const cxx = process.env.CXX || 'g++';

/**
 * Launches of every case on a chip.
 * @param objects host code of all kernels, by nvcc
 * @returns full(chip) and small(chip), at real and at emulated sizes: [{ kernel, shape, bytes, flops, launches }]
 */
export async function buildRecorder(objects) {
  const [version, flags] = [compilerVersion(), ['-O1', '-std=c++17', '-I.', '-c']];
  const compiled = await inParallel([...cases, 'budgets/record_launches.cc'], source =>
    compileObject(source, ['.'], nvcc, flags, version),
  );
  mkdirSync(out, { recursive: true });
  const program = join(out, 'record-launches');
  await run(nvcc, ['-cudart', 'none', ...compiled, ...objects, '-o', program]);
  const record = async (...args) => readLines((await run(program, args.map(String)))[0]);
  return {
    full: chip => record(chip.sms, chip.sharedPerBlock, 'full'),
    small: chip => record(chip.sms, chip.sharedPerBlock, 'small'),
  };
}

/** @returns count(chip): [{ kernel, shape, bytes, moved, requested, asyncInFlight }], in the order of the launches */
export async function buildCounter() {
  const include = ['emu/include', 'emu', '.'];
  const plain = ['-O2', '-std=c++17', ...include.map(folder => `-I${folder}`), '-c', '-x', 'c++'];
  // Each access of a kernel becomes a call of a function of count_accesses.cc.
  const counted = ['-fsanitize=thread', '--param', 'tsan-instrument-func-entry-exit=0', ...plain];
  const others = [...cases, 'budgets/count_accesses.cc', ...listSources('emu/src', '.cc')].map(source => [
    source,
    plain,
  ]);
  const compiled = await inParallel([...others, ...hotSources().map(source => [source, counted])], ([source, flags]) =>
    compileObject(source, include, cxx, flags, cxx),
  );
  mkdirSync(out, { recursive: true });
  const program = join(out, 'count-accesses');
  await run(cxx, ['-Wl,--wrap=_ZN3emu9asyncCopyEPvPKvii', ...compiled, '-pthread', '-o', program]);
  return async chip => readLines((await run(program, [chip.sms, chip.sharedPerBlock].map(String)))[0]);
}

async function compileObject(source, includeFolders, compiler, flags, version) {
  const name = `${basename(source)}.o`;
  const make = to => run(compiler, [...flags, '-o', join(to, name), source]);
  return join(await compileOnce({ source, command: [version, ...flags], includeFolders, make }), name);
}

function readLines(text) {
  const lines = text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
  const failed = lines.find(({ error }) => error !== 0);
  if (failed !== undefined) throw new Error(`${failed.kernel} (${failed.shape}) returned CUDA error ${failed.error}.`);
  return lines;
}
