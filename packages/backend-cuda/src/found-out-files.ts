/** Where the native side keeps what it has found out about ways to compute. */
import { mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { addonPath, type Flavour } from './addon.ts';

/**
 * Files for this build of the addon: another build has other kernels, and tries and times them again. `choices`: which of several
 * ways to compute a product was fastest; `trials`: which trials of kernels have begun and ended. '' where the folder cannot be made:
 * each process then finds out for itself.
 */
export function foundOutFile(what: 'choices' | 'trials', flavour: Flavour, folder = userCacheFolder()): string {
  try {
    mkdirSync(folder, { recursive: true });
    const { size, mtimeMs } = statSync(addonPath(flavour));
    return join(folder, `${what}-${flavour}-${size.toString(36)}-${Math.floor(mtimeMs).toString(36)}.txt`);
  } catch {
    return '';
  }
}

function userCacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'quire');
}
