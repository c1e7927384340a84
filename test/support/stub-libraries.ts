import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/** Builds the stand-in for cuBLASLt and NCCL into a folder that exists, and returns its path. Needs g++. */
export function buildStubLibraries(folder: string): string {
  const library = join(folder, 'libstub.so');
  const source = join(import.meta.dirname, 'stub-libraries.cc');
  const built = spawnSync('g++', ['-std=c++17', '-O1', '-shared', '-fPIC', source, '-o', library], {
    encoding: 'utf8',
  });
  if (built.status !== 0) throw new Error(`the stand-in for cuBLASLt does not compile: ${built.stderr}`);
  return library;
}
