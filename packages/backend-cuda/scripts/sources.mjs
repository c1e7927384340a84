/** The C++ and CUDA sources of the backend, for the scripts that build and check them. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
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

/** Whether a source has kernels on warpgroup products, which are compiled for sm_90a alone (and are empty for other chips). */
export function isWgmma(source) {
  return source.endsWith('_wgmma.cu');
}

/** A hash of everything that decides what nvcc makes of the kernels. */
export function kernelHash() {
  return hashOf(listSources('kernels', '.cu', '.h'));
}

/** Operations whose kernels have budgets. */
const hot = [
  'argmax',
  'filter_logits',
  'gated_linear',
  'linear',
  'lora_linear',
  'paged_attention',
  'persistent',
  'rms_norm',
  'rope_kv_write',
  'sample',
];

/** Sources of the kernels that have budgets. */
export function hotSources() {
  return listSources('kernels', '.cu').filter(path =>
    hot.some(stem => path === `kernels/${stem}.cu` || path.startsWith(`kernels/${stem}/`)),
  );
}

/** A hash of everything that decides what nvcc makes of the kernels that have budgets. */
export function hotKernelHash() {
  const files = new Set(hotSources().flatMap(source => [...closure(source, ['.'])]));
  return hashOf([...files].map(file => relative(packageFolder, file)).sort());
}

/** A source and the headers of the package that it includes, directly or not; absolute paths in order of first use. */
export function closure(source, includeFolders) {
  const found = new Set();
  const visit = file => {
    if (found.has(file)) return;
    found.add(file);
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)) {
      const folders = [dirname(file), ...includeFolders.map(folder => join(packageFolder, folder))];
      const header = folders.map(folder => resolve(folder, name)).find(path => existsSync(path));
      if (header !== undefined) visit(header);
    }
  };
  visit(join(packageFolder, source));
  return found;
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
