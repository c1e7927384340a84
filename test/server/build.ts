import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Brings the compiled packages and examples up to date, for tests that start them as processes. Quick when they are. */
export async function build(): Promise<void> {
  await promisify(execFile)(process.execPath, ['node_modules/typescript/bin/tsc', '-b', 'examples'], {
    cwd: root,
  }).catch((error: Error & { stdout?: string }) => {
    throw new Error(`the build fails: ${error.stdout ?? ''}`, { cause: error });
  });
}
