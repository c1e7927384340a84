/** Tests in C++: of the emulator itself, which must catch every planted bug, and of the forms of linear. */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';

const folder = resolve(import.meta.dirname, '../../packages/backend-cuda');

function run(script: string): string {
  const { status, stdout, stderr } = spawnSync('bash', [script], { cwd: folder, encoding: 'utf8' });
  expect(status, stdout + stderr).toBe(0);
  return stdout;
}

it('the emulator catches what is planted, plain and under the sanitizers', () => {
  const lines = run('emu/test/run.sh').trimEnd().split('\n');
  expect(lines).toEqual([
    expect.stringMatching(/^\d\d+ passed, 0 failed$/),
    lines[0],
    'AddressSanitizer reports a write out of bounds',
    'Example: 0 wrong; 4.0 sectors per load request, 15 barriers',
    'Without its barrier: 480 wrong; 4.0 sectors per load request, 0 barriers',
  ]);
});

it('every form of linear is right', () => {
  expect(run('kernels/linear/test/run.sh')).toMatch(/ 0 failed/);
});
