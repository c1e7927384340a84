/**
 * Builds scripts/gpu-probe for the emulator and runs it: the same stages as on a GPU, small, without a GPU or a CUDA toolkit.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const probeFolder = resolve(import.meta.dirname, '../../../scripts/gpu-probe');
const BUILD_TIMEOUT_MS = 280_000;

/** A run that must have the emulated device fails where no compiler is; another one names its tests as skipped. */
export const cannotBuild =
  spawnSync('g++', ['--version'], { stdio: 'ignore' }).status !== 0 &&
  !(process.env.QUIRE_REQUIRE_DEVICES ?? '').split(',').includes('cuda-emu');

export type ProbeLine = { stage: string } & Record<string, string | number | boolean | null>;
export interface ProbeRun {
  code: number | null;
  stderr: string;
  lines: ProbeLine[];
}

/** Compiles what changed; several test files may ask at once. */
export function buildEmulatedProbe(): void {
  const built = spawnSync('bash', [join(probeFolder, 'build.sh'), 'emu'], {
    encoding: 'utf8',
    timeout: BUILD_TIMEOUT_MS,
  });
  if (built.status !== 0) throw new Error(`scripts/gpu-probe/build.sh emu failed:\n${built.stdout}${built.stderr}`);
}

export function runProbe(program: string, args: string[], environment: NodeJS.ProcessEnv = {}): ProbeRun {
  const run = spawnSync(join(probeFolder, 'build', program), args, {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  });
  if (run.error) throw run.error;
  const lines = run.stdout.split('\n').filter(Boolean);
  return { code: run.status, stderr: run.stderr, lines: lines.map(line => JSON.parse(line) as ProbeLine) };
}

export function runEmulated(folder: string, stages: string[], environment: NodeJS.ProcessEnv = {}): ProbeRun {
  return runProbe('gpu-probe-emu', [folder, ...stages], environment);
}

export function withFolder<T>(body: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'quire-gpu-probe-'));
  try {
    return body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
