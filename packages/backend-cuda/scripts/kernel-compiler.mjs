/** Compiles the kernels with nvcc for the scripts that look into the compiled code. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { inParallel } from './in-parallel.mjs';
import { compileOnce, run } from './object-cache.mjs';
import { listSources } from './sources.mjs';

export const architectures = ['sm_80', 'sm_90'];
export const nvcc = process.env.CUDACXX || 'nvcc';

/** As CMake compiles a release, with the compiler's statement of what each kernel uses. */
const flags = ['-O3', '-DNDEBUG', '-std=c++17', '-I.', '-c', '-Xptxas', '-v', ...architectures.map(codeFor)];

/** Such as "nvcc 13.0.88". @throws Error when there is none. */
export function compilerVersion() {
  const { status, stdout } = spawnSync(nvcc, ['--version'], { encoding: 'utf8' });
  const version = status === 0 ? /V([\d.]+)/.exec(stdout)?.[1] : undefined;
  if (version === undefined) {
    throw new Error(`${nvcc} was not found: install the CUDA toolkit (or set CUDACXX to its nvcc); no GPU is needed.`);
  }
  return `nvcc ${version}`;
}

/** All kernels; see compileSource. Compiled is only what changed. */
export async function compileKernels() {
  const version = compilerVersion();
  return await inParallel(listSources('kernels', '.cu'), source => compileSource(source, version));
}

/**
 * { source, object, cubins: { sm_80: path, … }, log } of a source; object is host code that launches its kernels, log what
 * ptxas says of each.
 */
export async function compileSource(source, version) {
  const stem = basename(source, '.cu');
  const folder = await compileOnce({
    source,
    command: [version, ...flags],
    includeFolders: ['.'],
    make: async to => {
      const [, log] = await run(nvcc, [...flags, '--keep', '--keep-dir', to, '-o', join(to, `${stem}.o`), source]);
      writeFileSync(join(to, 'log'), log);
      for (const name of readdirSync(to)) if (!/\.(o|cubin)$|^log$/.test(name)) rmSync(join(to, name));
    },
  });
  const cubins = architectures.map(name => [name, join(folder, `${stem}.${name.replace('sm', 'compute')}.cubin`)]);
  return {
    source,
    object: join(folder, `${stem}.o`),
    cubins: Object.fromEntries(cubins),
    log: readFileSync(join(folder, 'log'), 'utf8'),
  };
}

function codeFor(architecture) {
  return `--generate-code=arch=${architecture.replace('sm', 'compute')},code=[${architecture}]`;
}
