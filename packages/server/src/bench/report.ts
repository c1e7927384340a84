import { execFile } from 'node:child_process';
import { cpus } from 'node:os';
import { promisify } from 'node:util';

/** One measurement. Names are stable and dotted. */
export interface BenchRow {
  name: string;
  value: number;
  unit: string;
  /** The physical limit in the same unit, or null where none is known. */
  limit: number | null;
  /** value against limit, 1 at the limit; null without one. */
  share: number | null;
}

export interface BenchReport {
  machine: string;
  device: string;
  /** Of the repository that this runs from, or null outside one. */
  commit: string | null;
  rows: BenchRow[];
}

export async function benchReport(device: string, rows: BenchRow[]): Promise<BenchReport> {
  return { machine: describeMachine(), device, commit: await currentCommit(), rows };
}

function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() || 'unknown processor';
  return `${processors.length} x ${model}, ${process.platform} ${process.arch}, Node ${process.version}`;
}

async function currentCommit(): Promise<string | null> {
  try {
    const { stdout } = await promisify(execFile)('git', ['rev-parse', 'HEAD'], { cwd: import.meta.dirname });
    return stdout.trim();
  } catch {
    return null;
  }
}
