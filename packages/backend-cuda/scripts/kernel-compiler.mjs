/** Compiles the kernels with nvcc, one cubin per source and architecture, for the scripts that look into the compiled code. */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { inParallel } from './in-parallel.mjs';
import { listSources, packageFolder } from './sources.mjs';

export const architectures = ['sm_80', 'sm_90'];

const nvcc = process.env.CUDACXX || 'nvcc';
/** As CMake compiles a release, with the compiler's statement of what each kernel uses. */
const flags = ['-O3', '-DNDEBUG', '-std=c++17', '-I.', '-cubin', '-Xptxas', '-v'];
const cache = join(packageFolder, 'build', 'cubin');

/** Such as "nvcc 13.0.88". @throws Error when there is none. */
export function compilerVersion() {
  const { status, stdout } = spawnSync(nvcc, ['--version'], { encoding: 'utf8' });
  const version = status === 0 ? /V([\d.]+)/.exec(stdout)?.[1] : undefined;
  if (version === undefined) {
    throw new Error(`${nvcc} was not found: install the CUDA toolkit (or set CUDACXX to its nvcc); no GPU is needed.`);
  }
  return `nvcc ${version}`;
}

/**
 * [{ source, architecture, cubin, log }], sorted; cubin is a path, log what ptxas said. Compiled is only what changed: the
 * source, the headers of the package that it includes, the flags or the compiler.
 */
export async function compileKernels() {
  const version = compilerVersion();
  const units = listSources('kernels', '.cu').flatMap(source =>
    architectures.map(architecture => ({ source, architecture })),
  );
  return await inParallel(units, unit => compileUnit(unit, version));
}

async function compileUnit({ source, architecture }, version) {
  const stem = join(cache, architecture, source);
  const cubin = `${stem}.cubin`;
  const hash = createHash('sha256').update([version, ...flags].join('\n'));
  for (const file of closure(source)) hash.update(readFileSync(file));
  const key = hash.digest('hex');
  const isCurrent = existsSync(`${stem}.key`) && readFileSync(`${stem}.key`, 'utf8') === key;
  if (!isCurrent) {
    mkdirSync(dirname(stem), { recursive: true });
    const temporary = `${cubin}.${process.pid}`;
    writeFileSync(`${stem}.log`, await compile(source, architecture, temporary));
    renameSync(temporary, cubin);
    writeFileSync(`${stem}.key`, key);
  }
  return { source, architecture, cubin, log: readFileSync(`${stem}.log`, 'utf8') };
}

/** A source and the headers of the package that it includes, directly or not; absolute paths in order of first use. */
function closure(source) {
  const found = new Set();
  const visit = file => {
    if (found.has(file)) return;
    found.add(file);
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)) {
      const candidates = [resolve(dirname(file), name), join(packageFolder, name)];
      const header = candidates.find(path => existsSync(path));
      if (header !== undefined) visit(header);
    }
  };
  visit(join(packageFolder, source));
  return found;
}

function compile(source, architecture, output) {
  const compute = architecture.replace('sm_', 'compute_');
  const code = `--generate-code=arch=${compute},code=[${architecture}]`;
  return new Promise((done, fail) => {
    const child = spawn(nvcc, [...flags, code, source, '-o', relative(packageFolder, output)], {
      cwd: packageFolder,
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', text => {
      log += text;
    });
    child.on('error', fail);
    child.on('exit', status =>
      status === 0 ? done(log) : fail(new Error(`${nvcc} failed on ${source} for ${architecture}:\n${log}`)),
    );
  });
}
