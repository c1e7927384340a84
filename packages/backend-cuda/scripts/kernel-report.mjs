/**
 * npm run cuda:report: compiles every kernel for every architecture and writes what ptxas says of it to kernels/report.json,
 * with a hash of the sources. A test says when that file is out of date.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileKernels, compilerVersion } from './kernel-compiler.mjs';
import { readUnit } from './kernel-resources.mjs';
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
  for (const unit of units) {
    for (const { architecture, name, resources } of readUnit(unit)) {
      const key = `${unit.source} ${name}`;
      kernels.set(key, { file: unit.source, name, ...kernels.get(key), [architecture]: resources });
    }
  }
  const order = new Intl.Collator('en', { numeric: true });
  return [...kernels.values()].sort((a, b) => order.compare(a.file, b.file) || order.compare(a.name, b.name));
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
