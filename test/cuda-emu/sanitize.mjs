/**
 * The tests of the emulated device with AddressSanitizer and UndefinedBehaviorSanitizer in the addon, its kernels and the emulator:
 * `npm run test:cuda-emu:sanitize`. A report ends the process in which it is made, and so fails its test. Leaks are not looked for:
 * Node itself does not free everything.
 *
 *   node sanitize.mjs [TEST FILE]...
 */
import { spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const backend = join(root, 'packages/backend-cuda');
/** Golden outputs take too long under the sanitizers, and run no code that the conformance list and the graphs do not. */
const tests = ['conformance', 'device', 'errors', 'graphs', 'host-tier', 'peer-processes', 'process-end', 'wgmma'].map(
  name => `test/cuda-emu/${name}.test.ts`,
);

function run(program, args, environment = {}) {
  const { status, error } = spawnSync(program, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

/** Node is not linked with the sanitizer, so its runtime must be loaded in front, and the C++ runtime that it wraps with it. */
function preloaded() {
  return ['libasan.so', 'libstdc++.so.6'].map(library => {
    const found = spawnSync(process.env.CXX || 'g++', [`-print-file-name=${library}`], { encoding: 'utf8' });
    return realpathSync(found.stdout.trim());
  });
}

run(process.execPath, [join(backend, 'scripts/build-emu.mjs'), '--sanitize']);
const files = process.argv.slice(2);
run(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'cuda-emu', ...(files.length > 0 ? files : tests)],
  {
    LD_PRELOAD: preloaded().join(' '),
    ASAN_OPTIONS: 'detect_leaks=0',
    UBSAN_OPTIONS: 'print_stacktrace=1',
    QUIRE_CUDA_EMU_ADDON: join(backend, 'build/emu-asan/Release/quire_cuda.node'),
  },
);
