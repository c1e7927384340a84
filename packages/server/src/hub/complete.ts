import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDescribed, shardsOf, type WantedWeights, weightsEntry } from './needed-files.ts';

/** Whether a snapshot holds all that is read of a model: then no hub needs to be asked. */
export async function isComplete(snapshot: string, weights: WantedWeights): Promise<boolean> {
  const names = new Set<string>();
  for (const name of await readdir(snapshot)) if (await exists(join(snapshot, name))) names.add(name);
  if (!isDescribed(names)) return false;
  if (weights === 'none') return true;
  const entry = weightsEntry(names, weights);
  if (entry === null) return false;
  const text = entry.endsWith('.index.json') ? await readFile(join(snapshot, entry), 'utf8') : '';
  return shardsOf(entry, text).every(name => names.has(name));
}

/** Follows links: one whose blob is not there leads to nothing. */
async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
