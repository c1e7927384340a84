/** Compiles the kernels with nvcc for the scripts that look into the compiled code. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { inParallel } from './in-parallel.mjs';
import { compileOnce, run } from './object-cache.mjs';
import { isWgmma, listSources } from './sources.mjs';

export const architectures = ['sm_80', 'sm_90'];
export const nvcc = process.env.CUDACXX || 'nvcc';

/** As CMake compiles a release, with the compiler's statement of what each kernel uses. */
const flags = ['-O3', '-DNDEBUG', '-std=c++17', '-I.', '-c', '-Xptxas', '-v'];

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
 * ptxas says of each. Of kernels on warpgroup products there is sm_90 alone.
 */
export async function compileSource(source, version) {
  const stem = basename(source, '.cu');
  const targets = isWgmma(source) ? ['sm_90a'] : architectures;
  const options = [...flags, ...targets.map(codeFor)];
  const folder = await compileOnce({
    source,
    command: [version, ...options],
    includeFolders: ['.'],
    make: async to => {
      const [, log] = await run(nvcc, [...options, '--keep', '--keep-dir', to, '-o', join(to, `${stem}.o`), source]);
      if (/C75\d\d|serialized/.test(log)) throw new Error(`ptxas serializes products of ${source}:\n${log}`);
      writeFileSync(join(to, 'log'), log);
      for (const name of readdirSync(to)) if (!/\.(o|cubin)$|^log$/.test(name)) rmSync(join(to, name));
    },
  });
  const cubins = isWgmma(source)
    ? [['sm_90', join(folder, `${stem}.cubin`)]]
    : architectures.map(name => [name, join(folder, `${stem}.${name.replace('sm', 'compute')}.cubin`)]);
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
