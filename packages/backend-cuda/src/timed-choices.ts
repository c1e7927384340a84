/** Where the native side keeps which of several ways to compute a product was fastest. */
import { mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { addonPath, type Flavour } from './addon.ts';

/**
 * A file for this build of the addon: another build has other kernels, and times them again. '' where the folder cannot be made:
 * choices are then timed in each process.
 */
export function timedChoicesFile(flavour: Flavour, folder = userCacheFolder()): string {
  try {
    mkdirSync(folder, { recursive: true });
    const { size, mtimeMs } = statSync(addonPath(flavour));
    return join(folder, `linear-${flavour}-${size.toString(36)}-${Math.floor(mtimeMs).toString(36)}.txt`);
  } catch {
    return '';
  }
}

function userCacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'quire');
}
