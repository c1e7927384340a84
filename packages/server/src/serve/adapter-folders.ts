import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { ConfigError } from '@quire/core';
import type { AdapterFolders } from '../app/adapters.ts';
import { invalidField } from '../http/errors.ts';

/**
 * Lets requests load from subfolders of these folders, wherever links lead. Paths that are not absolute begin in the first. Throws
 * ConfigError for what is no folder.
 */
export async function openAdapterFolders(folders: readonly string[]): Promise<AdapterFolders> {
  const roots = await Promise.all(folders.map(realFolder));
  return async path => {
    const candidates = isAbsolute(path) ? [path] : roots.map(root => join(root, path));
    for (const candidate of candidates) {
      const real = await realpath(candidate).catch(() => null);
      if (real !== null && roots.some(root => isInside(root, real))) return real;
    }
    // The same answer for what is outside and for what is not there: requests must not learn what lies where.
    throw invalidField(
      'lora_path',
      'lora_path must be a folder that lies in one of those that --lora-folder names.',
      'invalid_value',
    );
  };
}

async function realFolder(folder: string): Promise<string> {
  try {
    const real = await realpath(folder);
    if ((await stat(real)).isDirectory()) return real;
  } catch {
    // Told below.
  }
  throw new ConfigError(`loraFolder ${JSON.stringify(folder)} is no folder.`, 'loraFolder');
}

/** Compares path parts, not prefixes. */
function isInside(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
