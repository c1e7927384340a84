import { type Bindings, type CompileOptions, DeviceError, type Op, type Program } from '@quire/core/contract';
import { planMemory } from '@quire/core/program';
import { asDeviceError, opLabel } from './errors.ts';
import { type BoundDispatch, type BoundOp, type ExecutableParts, ownBindings } from './executable.ts';
import type { Dispatch, KernelBinding, KernelContext, KernelTensor, NormFusion, Tuning } from './kernel.ts';
import { kernels } from './kernels/index.ts';
import { type DeviceMemory, TENSOR_USAGE, UNIFORM_USAGE } from './memory.ts';
import { fuseNorms, noFusion } from './norm-fusion.ts';
import type { Pipeline, PipelineCache } from './pipelines.ts';
import { type ParamInfo, shaderInfo } from './shader-text.ts';

export interface CompileHost {
  readonly device: GPUDevice;
  readonly memory: DeviceMemory;
  readonly pipelines: PipelineCache;
  readonly tuning: Tuning;
  readonly maxTensorBytes: number;
  /** Bound where a kernel does not touch a binding; one for each access, since a buffer has one per dispatch. */
  readonly unused: Readonly<Record<'read' | 'read_write', GPUBuffer>>;
}

/** Offsets of bindings are multiples of this at the default limits. */
export const BINDING_ALIGNMENT = 256;
/** Distinct places for the unused bindings of one dispatch, so that none overlap. */
export const UNUSED_BYTES = 8 * BINDING_ALIGNMENT;

interface PlannedOp {
  readonly op: Op;
  readonly dispatches: readonly Dispatch[];
}

/** Everything that a step needs and that does not change from step to step: memory, pipelines, bind groups. */
export async function compileProgram(
  host: CompileHost,
  program: Program,
  bindings: Bindings,
  options: CompileOptions,
): Promise<ExecutableParts> {
  const keepAll = options.keepAll ?? false;
  // Of a norm that is taken in there may be no rows to read.
  const norms = keepAll ? noFusion : fuseNorms(program, host.tuning);
  const plan = planMemory(program, {
    alignment: BINDING_ALIGNMENT,
    maxArenaBytes: host.maxTensorBytes,
    keepAll,
    sharedWith: op => (op.op === 'rmsNorm' && norms.lanesOf.has(op) ? 1 : 0),
  });
  const planned = planOps(host, program, norms);
  const pipelines = await Promise.all(
    planned.map(({ op, dispatches }) =>
      Promise.all(dispatches.map(({ variant }) => host.pipelines.get(variant, op.op))),
    ),
  );
  const memory = new CompileMemory(host.memory, program.name);
  try {
    const arenas = plan.arenas.map((bytes, index) => memory.allocate(`arena ${index}`, bytes, TENSOR_USAGE));
    const extras = makeExtras(planned, memory);
    const parts = { program, bindings, plan, arenas, keepAll, extras: Object.values(extras) };
    const binder = new Binder(host, { ...parts, ...extras });
    const ops = planned.map((op, index) => binder.bind(op, index, pipelines[index]!));
    await binder.check();
    memory.check();
    return { ...parts, ops };
  } catch (error) {
    memory.freeAll();
    throw error;
  }
}

/** The buffers of one compile, so that one that fails leaves nothing behind. */
class CompileMemory {
  readonly #memory: DeviceMemory;
  readonly #owner: string;
  readonly #buffers: GPUBuffer[] = [];
  #exhausted: DeviceError | undefined;

  constructor(memory: DeviceMemory, owner: string) {
    this.#memory = memory;
    this.#owner = owner;
  }

  allocate(label: string, bytes: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const buffer = this.#memory.allocate(`${this.#owner} ${label}`, bytes, usage, error => {
      this.#exhausted ??= error;
    });
    this.#buffers.push(buffer);
    return buffer;
  }

  /** Throws when an allocation did not succeed. */
  check(): void {
    if (this.#exhausted !== undefined) throw this.#exhausted;
  }

  freeAll(): void {
    for (const buffer of this.#buffers) this.#memory.free(buffer);
  }
}

function planOps(host: CompileHost, program: Program, norms: NormFusion): PlannedOp[] {
  const context: KernelContext = {
    tuning: host.tuning,
    maxSizes: program.maxSizes,
    norms,
    tensor: name => ({ name, ...program.tensors[name]! }),
  };
  return program.ops.map((op, index) => {
    try {
      const kernel = kernels[op.op as keyof typeof kernels] as (op: Op, context: KernelContext) => readonly Dispatch[];
      return { op, dispatches: kernel(op, context) };
    } catch (error) {
      throw asDeviceError(error, `program ${program.name}, ${opLabel(index, op.op)}`, op.op);
    }
  });
}

interface Extras {
  readonly uniforms: GPUBuffer;
  readonly shared: GPUBuffer;
  readonly clean: GPUBuffer;
}

function makeExtras(planned: readonly PlannedOp[], memory: CompileMemory): Extras {
  const dispatches = planned.flatMap(op => op.dispatches);
  const scratch = { shared: 0, clean: 0 };
  for (const binding of dispatches.flatMap(({ bindings }) => Object.values(bindings))) {
    if (typeof binding !== 'object' || !('scratch' in binding)) continue;
    scratch[binding.scratch] = Math.max(scratch[binding.scratch], binding.bytes);
  }
  return {
    uniforms: memory.allocate('params', dispatches.length * BINDING_ALIGNMENT, UNIFORM_USAGE),
    shared: memory.allocate('scratch', scratch.shared, TENSOR_USAGE),
    clean: memory.allocate('clean scratch', scratch.clean, TENSOR_USAGE),
  };
}

/** Makes bind groups and writes Params, one slot of the uniform buffer per dispatch. */
class Binder {
  readonly #host: CompileHost;
  readonly #parts: Omit<ExecutableParts, 'ops'> & Extras;
  readonly #tensors: ReturnType<typeof ownBindings>;
  readonly #checks: Promise<void>[] = [];
  #nextSlot = 0;

  constructor(host: CompileHost, parts: Omit<ExecutableParts, 'ops'> & Extras) {
    this.#host = host;
    this.#parts = parts;
    this.#tensors = ownBindings(parts.bindings, host.memory);
  }

  bind({ op, dispatches }: PlannedOp, index: number, pipelines: readonly Pipeline[]): BoundOp {
    const label = opLabel(index, op.op);
    const { device } = this.#host;
    device.pushErrorScope('validation');
    const bound = dispatches.map((dispatch, i) => this.#bindDispatch(dispatch, pipelines[i]!, label));
    const check = device.popErrorScope().then(error => {
      if (error !== null)
        throw new DeviceError(`program ${this.#parts.program.name}, ${label}: ${error.message}`, op.op);
    });
    this.#checks.push(check);
    return { op: op.op, dispatches: bound };
  }

  /** Rejects with the first op whose bindings WebGPU refused. */
  async check(): Promise<void> {
    const results = await Promise.allSettled(this.#checks);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  #bindDispatch(dispatch: Dispatch, pipeline: Pipeline, label: string): BoundDispatch {
    const { device } = this.#host;
    const info = shaderInfo(dispatch.variant.shader);
    const slot = this.#nextSlot++ * BINDING_ALIGNMENT;
    device.queue.writeBuffer(this.#parts.uniforms, slot, packParams(info.params, dispatch.params));
    const entries = info.bindings.map(({ name, index, access }) => ({
      binding: index,
      resource:
        access === 'uniform'
          ? { buffer: this.#parts.uniforms, offset: slot, size: Math.max(16, info.params.length * 4) }
          : this.#resource(dispatch.bindings[name]!, access, index),
    }));
    const group = device.createBindGroup({ label, layout: pipeline.layout, entries });
    return { pipeline, group, workgroups: dispatch.workgroups };
  }

  #resource(binding: KernelBinding, access: 'read' | 'read_write', index: number): GPUBufferBinding {
    if (binding === 'unused') {
      return { buffer: this.#host.unused[access], offset: index * BINDING_ALIGNMENT, size: BINDING_ALIGNMENT };
    }
    if ('scratch' in binding) return { buffer: this.#parts[binding.scratch], size: wholeVectors(binding.bytes) };
    return this.#tensorResource(binding);
  }

  #tensorResource({ name }: KernelTensor): GPUBufferBinding {
    const place = this.#parts.plan.places[name];
    if (place !== undefined) {
      return { buffer: this.#parts.arenas[place.arena]!, offset: place.offset, size: wholeVectors(place.bytes) };
    }
    const tensor = this.#tensors[name]!;
    return { buffer: tensor.buffer, offset: tensor.byteOffset, size: wholeVectors(tensor.bytes) };
  }
}

/** Buffers are allocated in whole vec4s of words, so that a binding of vec4 elements holds the last one. */
function wholeVectors(bytes: number): number {
  return Math.max(16, Math.ceil(bytes / 16) * 16);
}

/** The bytes of a shader's `struct Params`. */
export function packParams(params: readonly ParamInfo[], values: Readonly<Record<string, number>>): ArrayBuffer {
  const data = new DataView(new ArrayBuffer(Math.max(16, params.length * 4)));
  params.forEach(({ name, type }, index) => {
    const value = values[name]!;
    if (type === 'f32') data.setFloat32(index * 4, value, true);
    else if (type === 'i32') data.setInt32(index * 4, value, true);
    else data.setUint32(index * 4, value, true);
  });
  return data.buffer;
}
