import { spawnSync } from 'node:child_process';
import { readCubin } from './cubin.mjs';

/**
 * [{ architecture, name, symbol, code, resources }] of each kernel of a compiled source. Resources are what ptxas -v tells:
 * registers of a thread, otherwise bytes; code is the machine code.
 */
export function readUnit({ log, cubins }) {
  const blocks = log.split(/Compiling entry function '/).slice(1);
  const symbols = blocks.map(block => block.slice(0, block.indexOf("'")));
  const names = demangle(symbols);
  const read = Object.fromEntries(Object.entries(cubins).map(([name, path]) => [name, readCubin(path)]));
  return blocks.map((block, i) => {
    const architecture = /' for '(sm_\d+)a?'/.exec(block)[1];
    const { code, constant } = read[architecture].get(symbols[i]);
    return { architecture, name: names[i], symbol: symbols[i], code, resources: { ...readResources(block), constant } };
  });
}

function readResources(block) {
  const number = pattern => Number(pattern.exec(block)?.[1] ?? 0);
  const resources = {
    registers: number(/Used (\d+) registers/),
    stack: number(/(\d+) bytes stack frame/),
    spillStores: number(/(\d+) bytes spill stores/),
    spillLoads: number(/(\d+) bytes spill loads/),
    staticShared: number(/(\d+) bytes smem/),
  };
  if (resources.registers === 0) throw new Error(`The report of ptxas is not as expected:\n${block}`);
  return resources;
}

/** Template arguments are kept; namespaces and parameters are left out. */
function demangle(symbols) {
  if (symbols.length === 0) return [];
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
