import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Replaces the file as a whole: a process that is killed leaves the old or the new one. */
export async function writeJsonFile(path: string, value: unknown): Promise<void> {
  await writeFile(`${path}.tmp`, JSON.stringify(value));
  await rename(`${path}.tmp`, path);
}

/** The values of all `.json` files of a folder. */
export async function readJsonFiles<T>(folder: string): Promise<T[]> {
  const names = (await readdir(folder)).filter(name => name.endsWith('.json'));
  return Promise.all(names.map(async name => JSON.parse(await readFile(join(folder, name), 'utf8')) as T));
}
