import { chmodSync, lstatSync, mkdirSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder that only this user can write to, in the caches of this user. Throws Error when no place can be written to. */
export function privateCacheFolder(): string {
  const preferred = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'quire');
  const fallback = join(tmpdir(), `quire-${process.getuid?.() ?? 0}`);
  for (const folder of [preferred, fallback]) {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const status = lstatSync(folder);
      if (!status.isDirectory() || status.uid !== process.getuid?.()) continue;
      chmodSync(folder, 0o700);
      return folder;
    } catch {
      // A home that cannot be written to: the next one.
    }
  }
  throw new Error(`no private folder: neither ${preferred} nor ${fallback} can be written to. Set XDG_CACHE_HOME.`);
}
