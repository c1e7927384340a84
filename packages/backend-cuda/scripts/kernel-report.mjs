/**
 * npm run cuda:report: compiles every kernel for every architecture and writes what ptxas says of it to kernels/report.json,
 * with a hash of the sources. A test says when that file is out of date.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCubin } from './cubin.mjs';
import { compileKernels, compilerVersion } from './kernel-compiler.mjs';
import { kernelHash, packageFolder } from './sources.mjs';

const command = 'npm run cuda:report';

try {
  const started = Date.now();
  const hash = kernelHash();
  const kernels = merge(await compileKernels());
  const path = join(packageFolder, 'kernels', 'report.json');
  writeFileSync(path, print(hash, kernels));
  console.log(`${path}: ${kernels.length} kernels in ${((Date.now() - started) / 1000).toFixed(1)} s.`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

/** [{ file, name, sm_80: resources, sm_90: resources }], sorted by file and name. */
function merge(units) {
  const kernels = new Map();
  for (const { source, architecture, log, cubin } of units) {
    for (const [name, resources] of readUnit(log, readCubin(cubin))) {
      const key = `${source} ${name}`;
      kernels.set(key, { file: source, name, ...kernels.get(key), [architecture]: resources });
    }
  }
  const order = new Intl.Collator('en', { numeric: true });
  return [...kernels.values()].sort((a, b) => order.compare(a.file, b.file) || order.compare(a.name, b.name));
}

/** [name, resources] of each kernel, as ptxas -v tells them: registers of a thread, otherwise bytes. */
function readUnit(log, cubin) {
  const blocks = log.split(/Compiling entry function '/).slice(1);
  const symbols = blocks.map(block => block.slice(0, block.indexOf("'")));
  const names = demangle(symbols);
  return blocks.map((block, i) => {
    const number = pattern => Number(pattern.exec(block)?.[1] ?? 0);
    const resources = {
      registers: number(/Used (\d+) registers/),
      stack: number(/(\d+) bytes stack frame/),
      spillStores: number(/(\d+) bytes spill stores/),
      spillLoads: number(/(\d+) bytes spill loads/),
      staticShared: number(/(\d+) bytes smem/),
      constant: cubin.get(symbols[i]).constant,
    };
    if (resources.registers === 0) throw new Error(`The report of ptxas is not as expected:\n${block}`);
    return [names[i], resources];
  });
}

/** Template arguments are kept; namespaces and parameters are left out. */
function demangle(symbols) {
  const { status, stdout } = spawnSync('c++filt', { input: symbols.join('\n'), encoding: 'utf8' });
  if (status !== 0) throw new Error('c++filt was not found: install binutils.');
  return stdout.trimEnd().split('\n').map(shortName);
}

function shortName(demangled) {
  const name = demangled.replaceAll(/\(anonymous namespace\)::|quire::|^void /g, '').replaceAll('> >', '>>');
  let depth = 0;
  for (let i = name.length - 1; i >= 0; i--) {
    if (name[i] === ')') depth++;
    if (name[i] === '(' && --depth === 0) return name.slice(0, i);
  }
  return name;
}

/** One line per kernel and architecture. */
function print(hash, kernels) {
  const lines = kernels.map(({ file, name, ...resources }) => {
    const each = Object.entries(resources).map(([key, value]) => `      ${JSON.stringify(key)}: ${inLine(value)}`);
    return `    {\n      "file": ${JSON.stringify(file)},\n      "name": ${JSON.stringify(name)},\n${each.join(',\n')}\n    }`;
  });
  const head = { command, sourceHash: hash, compiler: compilerVersion() };
  const fields = Object.entries(head).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  return `{\n${fields.join(',\n')},\n  "kernels": [\n${lines.join(',\n')}\n  ]\n}\n`;
}

function inLine(value) {
  return JSON.stringify(value, null, 1).replaceAll(/\n\s*/g, ' ');
}
