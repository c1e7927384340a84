import {
  type Bindings,
  DeviceError,
  type DeviceTensor,
  type Executable,
  type OpName,
  type OpTiming,
  type Program,
  type StepSizes,
  type TensorName,
} from '@quire/core/contract';
import { type MemoryPlan, resolveShape } from '@quire/core/program';
import { dispatchGrid } from './grid.ts';
import type { Dispatch } from './kernel.ts';
import { type DeviceMemory, ownTensor, WebGpuTensor } from './memory.ts';
import type { Pipeline } from './pipelines.ts';

/** A dispatch with its pipeline and its bind group, ready to encode. */
export interface BoundDispatch {
  readonly pipeline: Pipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: Dispatch['workgroups'];
}
export interface BoundOp {
  readonly op: OpName;
  readonly dispatches: readonly BoundDispatch[];
}
/** What an executable owns on the device. */
export interface ExecutableParts {
  readonly program: Program;
  readonly bindings: Bindings;
  readonly ops: readonly BoundOp[];
  readonly plan: MemoryPlan;
  readonly arenas: readonly GPUBuffer[];
  /** Uniforms and scratch. */
  readonly extras: readonly GPUBuffer[];
  readonly keepAll: boolean;
}
/** How an executable reaches its device. */
export interface ExecutableHost {
  readonly memory: DeviceMemory;
  profile(executable: WebGpuExecutable, sizes: StepSizes): Promise<OpTiming[]>;
  dispatched(variant: string): void;
}

export class WebGpuExecutable implements Executable {
  readonly program: Program;
  readonly ops: readonly BoundOp[];
  readonly #parts: ExecutableParts;
  readonly #host: ExecutableHost;
  readonly #counts: Uint32Array;
  readonly #tensors = new Map<TensorName, WebGpuTensor>();
  #disposed = false;

  constructor(parts: ExecutableParts, host: ExecutableHost) {
    this.program = parts.program;
    this.ops = parts.ops;
    this.#parts = parts;
    this.#host = host;
    this.#counts = new Uint32Array(parts.ops.length);
  }

  belongsTo(memory: DeviceMemory): boolean {
    return this.#host.memory === memory;
  }

  tensor(name: TensorName): DeviceTensor {
    const known = this.#tensors.get(name);
    if (known !== undefined) return known;
    const { program, plan, arenas, keepAll } = this.#parts;
    const place = plan.places[name];
    if (place === undefined)
      throw new DeviceError(`program ${program.name}: found "${name}", expected a temporary of it.`);
    if (!keepAll)
      throw new DeviceError(`program ${program.name}: temporaries stay readable only when compiled with keepAll.`);
    const { dtype, shape } = program.tensors[name]!;
    const spec = { name, dtype, shape: resolveShape(shape, program.maxSizes), usage: 'state' as const };
    const tensor = new WebGpuTensor(this.#host.memory, spec, arenas[place.arena]!, place.offset, () => {});
    this.#tensors.set(name, tensor);
    return tensor;
  }

  profile(sizes: StepSizes): Promise<OpTiming[]> {
    return this.#host.profile(this, sizes);
  }

  opCounts(): Partial<Record<OpName, number>> {
    const counts: Partial<Record<OpName, number>> = {};
    this.ops.forEach(({ op }, index) => {
      counts[op] = (counts[op] ?? 0) + this.#counts[index]!;
    });
    return counts;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const tensor of this.#tensors.values()) tensor.dispose();
    for (const buffer of [...this.#parts.arenas, ...this.#parts.extras]) this.#host.memory.free(buffer);
  }

  /** Why the executable cannot run any more, with the op that would touch what is gone. */
  fault(): DeviceError | undefined {
    const { program, bindings } = this.#parts;
    if (this.#disposed)
      return new DeviceError(`program ${program.name} was disposed of before this submit.`, this.ops[0]?.op);
    for (const [name, tensor] of Object.entries(bindings)) {
      if (!(tensor as WebGpuTensor).disposed) continue;
      const index = program.ops.findIndex(op => Object.values(op).includes(name));
      const op = program.ops[index]?.op;
      const what = `op ${index} (${op ?? 'none'}) uses "${name}", but tensor ${tensor.spec.name} was disposed of`;
      return new DeviceError(`program ${program.name}: ${what}.`, op);
    }
    return undefined;
  }

  /** Encodes one op, and counts `times` runs of it. */
  encodeOp(index: number, pass: GPUComputePassEncoder, sizes: StepSizes, times: number): void {
    for (const { pipeline, group, workgroups } of this.ops[index]!.dispatches) {
      const grid = dispatchGrid(workgroups(sizes));
      if (grid === undefined) continue;
      pass.setPipeline(pipeline.pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(grid[0], grid[1]);
      this.#host.dispatched(pipeline.name);
    }
    this.#counts[index]! += times;
  }
}

/** The tensors of `bindings` as those of the device with this memory. */
export function ownBindings(bindings: Bindings, memory: DeviceMemory): Record<TensorName, WebGpuTensor> {
  return Object.fromEntries(Object.entries(bindings).map(([name, tensor]) => [name, ownTensor(tensor, memory)]));
}
