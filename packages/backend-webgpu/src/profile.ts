import type { OpTiming, StepSizes } from '@quire/core/contract';
import type { WebGpuExecutable } from './executable.ts';
import { type DeviceMemory, STAGING_USAGE } from './memory.ts';
import type { OwnStep, StepEncoder } from './queue.ts';

/** Queries that one set may hold, at the default limits. */
const MAX_QUERIES = 4096;

/** Runs one step and times each op: by timestamps where the device has them, else by waiting for one submit per op. */
export function profileOps(
  device: GPUDevice,
  memory: DeviceMemory,
  steps: StepEncoder,
  step: OwnStep,
): Promise<OpTiming[]> {
  const group = steps.writeSizes([step]);
  const timestamps = device.features.has('timestamp-query') && 2 * step.executable.ops.length <= MAX_QUERIES;
  return timestamps ? timeByQueries(device, memory, group, step) : timeBySubmits(device, group, step);
}

async function timeByQueries(
  device: GPUDevice,
  memory: DeviceMemory,
  sizesGroup: GPUBindGroup,
  { executable, sizes }: OwnStep,
): Promise<OpTiming[]> {
  const count = 2 * executable.ops.length;
  const queries = device.createQuerySet({ type: 'timestamp', count: Math.max(1, count) });
  const resolved = memory.allocate('timestamps', count * 8, 0x0200 | 0x04); // QUERY_RESOLVE | COPY_SRC
  const landing = memory.allocate('timestamps read', count * 8, STAGING_USAGE);
  try {
    const encoder = device.createCommandEncoder({ label: 'profile' });
    executable.ops.forEach((_, index) => {
      const timestampWrites = {
        querySet: queries,
        beginningOfPassWriteIndex: 2 * index,
        endOfPassWriteIndex: 2 * index + 1,
      };
      encodeAlone(encoder.beginComputePass({ timestampWrites }), sizesGroup, executable, index, sizes);
    });
    encoder.resolveQuerySet(queries, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, landing, 0, count * 8);
    device.queue.submit([encoder.finish()]);
    await landing.mapAsync(1); // GPUMapMode.READ
    const times = new BigUint64Array(landing.getMappedRange().slice(0, count * 8));
    return executable.ops.map(({ op }, index) => {
      const nanoseconds = times[2 * index + 1]! - times[2 * index]!;
      return { index, op, microseconds: Number(nanoseconds) / 1000 };
    });
  } finally {
    queries.destroy();
    memory.free(resolved);
    memory.free(landing);
  }
}

async function timeBySubmits(
  device: GPUDevice,
  sizesGroup: GPUBindGroup,
  { executable, sizes }: OwnStep,
): Promise<OpTiming[]> {
  const timings: OpTiming[] = [];
  await device.queue.onSubmittedWorkDone();
  for (let index = 0; index < executable.ops.length; index++) {
    const start = performance.now();
    const encoder = device.createCommandEncoder({ label: 'profile' });
    encodeAlone(encoder.beginComputePass(), sizesGroup, executable, index, sizes);
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    timings.push({ index, op: executable.ops[index]!.op, microseconds: (performance.now() - start) * 1000 });
  }
  return timings;
}

function encodeAlone(
  pass: GPUComputePassEncoder,
  sizesGroup: GPUBindGroup,
  executable: WebGpuExecutable,
  index: number,
  sizes: StepSizes,
): void {
  pass.setBindGroup(1, sizesGroup, [0]);
  executable.encodeOp(index, pass, sizes, 1);
  pass.end();
}
