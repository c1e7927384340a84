/**
 * Builds the CUDA flavour of the addon for sm_80, sm_90 and later ones with cmake-js, where nvcc is:
 * build/cuda/Release/quire_cuda.node. Node's headers come from npm packages, because package.json has binary.napi_versions.
 */
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { packageFolder } from './sources.mjs';

const needed = {
  [process.env.CUDACXX || 'nvcc']: 'the CUDA toolkit (or set CUDACXX to its nvcc)',
  cmake: 'cmake 3.22 or later',
};
for (const [program, what] of Object.entries(needed)) {
  if (spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0) continue;
  console.error(
    `${program} was not found: install ${what}. Without a GPU, npm run build:cuda-emu needs a C++ compiler only.`,
  );
  process.exit(1);
}
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const args = [cmakeJs, 'build', '--directory', packageFolder, '--out', 'build/cuda', '--parallel', '2'];
process.exit(spawnSync(process.execPath, args, { cwd: packageFolder, stdio: 'inherit' }).status ?? 1);
