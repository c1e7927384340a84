import type { Device, DeviceTensor, Program, TensorName } from '@quire/core/contract';
import { shapeBytes } from '@quire/core/contract';
import { noSizes, offers, ProgramBuilder, resolveShape } from '@quire/core/program';
import { bandwidthSubject, type OpSubject, opSubjects } from './op-subjects.ts';
import type { BenchRow } from './report.ts';

export interface BenchOpsOptions {
  /** Larger tensors are left out. Default: what the device takes, and 64 MiB on a processor. */
  maxTensorBytes?: number;
  /** Time spent on each measurement, in milliseconds. */
  budget?: number;
}

const SOFTWARE_TENSOR_BYTES = 64 * 2 ** 20;
const BANDWIDTH_ELEMENTS = 2 ** 22;
const MAX_REPEATS = 1000;
const ROUNDS = 3;
/** Milliseconds above which one run is measurement enough. */
const SLOW = 1000;

/**
 * Microseconds of each operation, as the best of a few rounds of repeated submits, at the shapes of tiny-llama and of a model
 * with 1B parameters. `limit` is the time that the op's memory traffic takes at the bandwidth measured first, and null where
 * arithmetic decides; it can be passed (share above 1) by what stays in a cache.
 */
export async function benchOps(device: Device, options: BenchOpsOptions = {}): Promise<BenchRow[]> {
  const { budget = 100 } = options;
  const fitting = device.info.capabilities.software ? SOFTWARE_TENSOR_BYTES : device.info.limits.maxTensorBytes;
  const maxTensorBytes = Math.min(options.maxTensorBytes ?? fitting, device.info.limits.maxTensorBytes);
  const largest = Math.min(BANDWIDTH_ELEMENTS, 2 ** Math.floor(Math.log2(maxTensorBytes / 4)));
  const copy = bandwidthSubject(largest);
  const bytesPerMicrosecond = copy.bytes! / (await time(device, copy, budget))!;
  const rows = [row('ops.bandwidth', bytesPerMicrosecond / 1000, 'GB/s', null)];
  for (const subject of opSubjects()) {
    const microseconds = await time(device, subject, budget, maxTensorBytes);
    if (microseconds === undefined) continue;
    const limit = subject.bytes === null ? null : subject.bytes / bytesPerMicrosecond;
    rows.push(row(`ops.${subject.name}`, microseconds, 'us', limit));
  }
  return rows;
}

function row(name: string, value: number, unit: string, limit: number | null): BenchRow {
  return { name, value: round(value), unit, limit: limit && round(limit), share: limit && round(limit / value) };
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}

/** Microseconds of one run, or undefined where the device does not offer the op or a tensor is too large. */
async function time(
  device: Device,
  subject: OpSubject,
  budget: number,
  maxTensorBytes = Infinity,
): Promise<number | undefined> {
  const program = programOf(subject);
  const offered = program.ops.every(op => offers(device.info.dtypes, op, program) === true);
  if (!offered || largestTensor(program) > maxTensorBytes) return undefined;
  const tensors = createTensors(device, program, subject);
  try {
    const executable = await device.compile(program, tensors);
    try {
      const run = async (repeats: number) => {
        const start = performance.now();
        for (let i = 0; i < repeats; i++) device.submit([{ executable, sizes: program.maxSizes }]);
        await device.synchronize();
        return (performance.now() - start) / repeats;
      };
      // The first run compiles what a driver compiles late; the second tells how often the op fits the budget.
      await run(1);
      const once = await run(1);
      if (once > SLOW) return once * 1000;
      const repeats = Math.max(1, Math.min(MAX_REPEATS, Math.round(budget / ROUNDS / once)));
      let best = Infinity;
      for (let round = 0; round < ROUNDS; round++) best = Math.min(best, await run(repeats));
      return best * 1000;
    } finally {
      executable.dispose();
    }
  } finally {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
}

function programOf(subject: OpSubject): Program {
  const builder = new ProgramBuilder(subject.name, { ...noSizes, ...subject.sizes });
  subject.build(builder);
  return builder.build();
}

function largestTensor(program: Program): number {
  const bytes = Object.values(program.tensors).map(({ shape, dtype }) =>
    shapeBytes(dtype, resolveShape(shape, program.maxSizes)),
  );
  return Math.max(...bytes);
}

function createTensors(device: Device, program: Program, subject: OpSubject): Record<TensorName, DeviceTensor> {
  const tensors: Record<TensorName, DeviceTensor> = {};
  for (const [name, { dtype, shape }] of Object.entries(program.tensors)) {
    const tensor = device.createTensor({ name, dtype, shape: resolveShape(shape, program.maxSizes), usage: 'state' });
    const contents = subject.contents?.[name];
    if (contents !== undefined) device.write(tensor, contents);
    tensors[name] = tensor;
  }
  return tensors;
}
