/** The C++ and CUDA sources of the backend, for the scripts that build and check them. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const packageFolder = fileURLToPath(new URL('..', import.meta.url));

/** Files below a folder of the package, with one of these endings, as paths from the package; sorted. */
export function listSources(folder, ...endings) {
  return readdirSync(join(packageFolder, folder), { withFileTypes: true })
    .flatMap(entry => {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) return listSources(path, ...endings);
      return endings.some(ending => entry.name.endsWith(ending)) ? [path] : [];
    })
    .sort();
}

/** A hash of everything that decides what nvcc makes of the kernels. */
export function kernelHash() {
  return hashOf(listSources('kernels', '.cu', '.h'));
}

/** A hash of the cases that budgets are held against. */
export function budgetHash() {
  return hashOf(listSources('budgets', '.cc', '.cu', '.h', '.json'));
}

function hashOf(files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${file}\n${readFileSync(join(packageFolder, file), 'utf8')}\n`);
  return hash.digest('hex').slice(0, 16);
}
