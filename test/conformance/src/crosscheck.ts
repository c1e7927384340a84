import { type Device, DeviceLostError, type OpName } from '@quire/core/contract';
import { offers } from '@quire/core/program';
import { conformanceCases } from './cases/index.ts';
import { judge, triviality, type Verdict } from './judge.ts';
import { type CaseOutcome, CaseRunner } from './run-case.ts';
import type { CaseInputs, ConformanceCase } from './types.ts';

export interface NamedDevice {
  readonly name: string;
  readonly device: Device;
}

export interface CrosscheckOptions {
  /** Compared with the oracle, one after another. */
  devices: readonly NamedDevice[];
  /** The reference device. It is never compared with itself: leave it out of `devices`. */
  oracle: Device;
  /** All ops by default. */
  ops?: readonly OpName[];
  /** Numbers of cases within their op. */
  cases?: readonly number[];
  /** Only the quick set. */
  quick?: boolean;
  onCase?: (result: CaseResult) => void;
  signal?: AbortSignal;
}

export interface CaseResult {
  op: OpName;
  index: number;
  name: string;
  device: string;
  status: 'passed' | 'failed' | 'not offered';
  /** Largest error over its tolerance. */
  worst: number;
  /** Why it failed or is not offered. */
  message?: string;
}

export interface CrosscheckFailure extends CaseResult {
  /** The command that runs this case alone. */
  replay: string;
}

/** One line of the table. */
export interface OpReport {
  op: OpName;
  device: string;
  /** Compared cases. */
  cases: number;
  failed: number;
  /** Largest error over its tolerance among them. JSON has no infinity: null stands for it. */
  worst: number | null;
  /** Cases that the device does not offer, and the reasons, each once. */
  notOffered: number;
  reasons: string[];
}

export interface CrosscheckReport {
  cases: number;
  failed: number;
  ops: OpReport[];
  failures: CrosscheckFailure[];
}

/** Runs the cases on the oracle and on every device, and compares. Rejects only when a device is lost or the signal aborts. */
export async function runCrosscheck(options: CrosscheckOptions): Promise<CrosscheckReport> {
  if (options.devices.some(({ device }) => device === options.oracle)) {
    throw new TypeError('The oracle is among the devices to check: nothing is compared with itself.');
  }
  const oracle = new CaseRunner(options.oracle);
  const runners = options.devices.map(({ name, device }) => ({ name, device, runner: new CaseRunner(device) }));
  const report = new ReportBuilder(options.devices.map(({ name }) => name));
  try {
    for (const testCase of selectCases(options)) {
      options.signal?.throwIfAborted();
      const subject = new Subject(testCase, oracle);
      for (const target of runners) {
        const result = await runOne(testCase, subject, target);
        report.add(result);
        options.onCase?.(result);
      }
    }
  } finally {
    for (const runner of [oracle, ...runners.map(target => target.runner)]) runner.dispose();
  }
  return report.build();
}

/** The command that runs one case alone. */
export function replayCommand(op: OpName, index: number, device: string): string {
  return `quire crosscheck --op ${op} --case ${index} --devices reference,${device}`;
}

function selectCases(options: CrosscheckOptions): ConformanceCase[] {
  return conformanceCases().filter(
    testCase =>
      (options.ops === undefined || options.ops.includes(testCase.op)) &&
      (options.cases === undefined || options.cases.includes(testCase.index)) &&
      (!options.quick || testCase.quick),
  );
}

/** A case with what the oracle makes of it, computed once for all devices. */
class Subject {
  readonly #case: ConformanceCase;
  readonly #oracle: CaseRunner;
  #expected: { inputs: CaseInputs; outcome: CaseOutcome; trivial: string | undefined } | undefined;

  constructor(testCase: ConformanceCase, oracle: CaseRunner) {
    this.#case = testCase;
    this.#oracle = oracle;
  }

  async expected() {
    if (this.#expected === undefined) {
      const inputs = this.#case.inputs();
      const outcome = await this.#oracle.run(this.#case, inputs);
      this.#expected = { inputs, outcome, trivial: triviality(this.#case, inputs, outcome) };
    }
    return this.#expected;
  }
}

async function runOne(
  testCase: ConformanceCase,
  subject: Subject,
  target: NamedDevice & { runner: CaseRunner },
): Promise<CaseResult> {
  const { op, index, name } = testCase;
  const base = { op, index, name, device: target.name };
  const reason = whyNotOffered(testCase, target.device);
  if (reason !== undefined) return { ...base, status: 'not offered', worst: 0, message: reason };
  try {
    const { inputs, outcome, trivial } = await subject.expected();
    if (trivial !== undefined) return { ...base, status: 'failed', worst: Infinity, message: trivial };
    const verdict = judge(testCase, inputs, outcome, await target.runner.run(testCase, inputs));
    if (verdict.failure === undefined) return { ...base, status: 'passed', worst: verdict.worst };
    return { ...base, status: 'failed', worst: verdict.worst, message: describe(verdict.failure) };
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
    // What a half-run step left behind must not reach the next case.
    target.runner.dispose();
    return {
      ...base,
      status: 'failed',
      worst: Infinity,
      message: error instanceof Error ? error.message : String(error),
    };
  }
}

/** The reason that a device's table gives, or undefined when it offers every op of the case. */
export function whyNotOffered(testCase: ConformanceCase, device: Device): string | undefined {
  for (const op of testCase.program.ops) {
    const answer = offers(device.info.dtypes, op, testCase.program);
    if (answer !== true) return answer;
  }
  return undefined;
}

function describe({ tensor, index, expected, actual, message }: NonNullable<Verdict['failure']>): string {
  return `${tensor}[${index}]: expected ${expected}, found ${actual}: ${message}`;
}

class ReportBuilder {
  readonly #devices: readonly string[];
  readonly #lines = new Map<string, OpReport>();
  readonly #failures: CrosscheckFailure[] = [];

  constructor(devices: readonly string[]) {
    this.#devices = devices;
  }

  add(result: CaseResult): void {
    const line = this.#line(result);
    if (result.status === 'not offered') {
      line.notOffered++;
      const reason = result.message ?? '';
      if (!line.reasons.includes(reason)) line.reasons.push(reason);
      return;
    }
    line.cases++;
    if (line.worst !== null) line.worst = Number.isFinite(result.worst) ? Math.max(line.worst, result.worst) : null;
    if (result.status === 'passed') return;
    line.failed++;
    this.#failures.push({ ...result, replay: replayCommand(result.op, result.index, result.device) });
  }

  build(): CrosscheckReport {
    const ops = [...this.#lines.values()].sort(
      (a, b) => this.#devices.indexOf(a.device) - this.#devices.indexOf(b.device),
    );
    const sum = (field: 'cases' | 'failed') => ops.reduce((total, line) => total + line[field], 0);
    return { cases: sum('cases'), failed: sum('failed'), ops, failures: this.#failures };
  }

  #line({ op, device }: CaseResult): OpReport {
    const key = `${device} ${op}`;
    const line = this.#lines.get(key) ?? { op, device, cases: 0, failed: 0, worst: 0, notOffered: 0, reasons: [] };
    this.#lines.set(key, line);
    return line;
  }
}
