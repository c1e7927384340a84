/** Files in which a WebGPU device keeps which of its kernels were the fastest, in the user's folder of caches. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { privateCacheFolder } from './cache-folder.ts';

/** Rejects where there is no such file, or no folder that can be written to. */
export function choiceFiles(folder: () => string = privateCacheFolder) {
  return {
    read: async (name: string): Promise<string> => readFile(join(folder(), name), 'utf8'),
    write: async (name: string, text: string): Promise<void> => {
      const file = join(folder(), name);
      const staging = `${file}.${process.pid}`;
      await writeFile(staging, text);
      await rename(staging, file);
    },
  };
}
