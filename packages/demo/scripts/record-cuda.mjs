/**
 * Records what the CUDA kernels give in the conformance suite, for the page to show beside the visitor's adapter:
 *
 *   node packages/demo/scripts/record-cuda.mjs [cuda|cuda-emu]
 *
 * Needs a built tree, and a GPU or the emulator's addon (npm run build:cuda-emu).
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../../..');
const device = process.argv[2] ?? 'cuda-emu';
const cli = join(root, 'packages/server/dist/cli/main.js');
const { stdout, status } = spawnSync(process.execPath, [cli, 'crosscheck', '--devices', device, '--json'], {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 2 ** 28,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const report = JSON.parse(stdout);
const commit = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).stdout.trim();
const rows = report.ops
  .filter(({ cases }) => cases > 0)
  .map(({ op, cases, failed, worst }) => `  ['${op}', { cases: ${cases}, failed: ${failed}, worst: ${worst} }],\n`);
writeFileSync(
  join(import.meta.dirname, '../src/state/recorded-cuda.gen.ts'),
  `/** Made by scripts/record-cuda.mjs. */
export const recordedCuda = {
  device: '${device === 'cuda' ? 'on a GPU' : 'emulated'}',
  commit: '${commit}',
};

export const cudaRows: ReadonlyMap<string, { readonly cases: number; readonly failed: number; readonly worst: number | null }> = new Map([
${rows.join('')}]);
`,
);
process.exitCode = status ?? 1;
