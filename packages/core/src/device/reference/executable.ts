import {
  type Bindings,
  type Communicators,
  DeviceError,
  type DeviceTensor,
  type Executable,
  type Op,
  type OpName,
  type OpTiming,
  type Program,
  type StepSizes,
  type TensorName,
} from '../../contract/contract.ts';
import { elementCount, type MemoryPlan, opTensors, planMemory, resolveShape } from '../../program/index.ts';
import { kernels } from './kernels.ts';
import type { Kernel, RunOp } from './lib/kernel.ts';
import { floats, type View, words } from './lib/views.ts';
import { type Ledger, ReferenceTensor } from './tensor.ts';

/** What an executable needs from its device. */
export interface ExecutableHost {
  maxTensorBytes: number;
  keepAll: boolean;
  ledger: Ledger;
  communicators: Communicators;
  profile(executable: ReferenceExecutable, sizes: StepSizes): Promise<OpTiming[]>;
}

const ARENA_ALIGNMENT = 64;

/** A Program with its memory placed and a closure for each op. */
export class ReferenceExecutable implements Executable {
  readonly program: Program;
  readonly bindings: Readonly<Record<TensorName, ReferenceTensor>>;
  readonly #host: ExecutableHost;
  readonly #arenaBytes: number;
  readonly #temporaries: Record<TensorName, ReferenceTensor> = {};
  readonly #steps: readonly { op: OpName; run: RunOp }[];
  readonly #counts: Partial<Record<OpName, number>> = {};
  #disposed = false;

  /** `bindings` are checked by the caller. */
  constructor(program: Program, bindings: Bindings, host: ExecutableHost) {
    this.program = program;
    this.#host = host;
    this.bindings = bindings as Record<TensorName, ReferenceTensor>;
    const plan = planMemory(program, {
      alignment: ARENA_ALIGNMENT,
      maxArenaBytes: host.maxTensorBytes,
      keepAll: host.keepAll,
    });
    this.#arenaBytes = plan.arenas.reduce((sum, bytes) => sum + bytes, 0);
    host.ledger.allocate(this.#arenaBytes);
    this.#placeTemporaries(plan);
    this.#steps = program.ops.map(op => ({ op: op.op, run: this.#makeKernel(op) }));
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  get temporaries(): readonly ReferenceTensor[] {
    return Object.values(this.#temporaries);
  }

  tensor(name: TensorName): DeviceTensor {
    const tensor = this.#temporaries[name];
    const found = tensor === undefined ? 'no temporary of that name' : 'a program compiled without keepAll';
    if (tensor !== undefined && this.#host.keepAll) return tensor;
    throw new DeviceError(
      `tensor "${name}" of program ${this.program.name}: found ${found}, expected one kept by keepAll.`,
    );
  }

  profile(sizes: StepSizes): Promise<OpTiming[]> {
    return this.#host.profile(this, sizes);
  }

  opCounts(): Partial<Record<OpName, number>> {
    return { ...this.#counts };
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const tensor of Object.values(this.#temporaries)) tensor.dispose();
    this.#host.ledger.free(this.#arenaBytes);
  }

  /** Runs all ops; a failure is a DeviceError that names the op. */
  run(sizes: StepSizes): void {
    for (let index = 0; index < this.#steps.length; index++) this.#runOp(index, sizes);
  }

  /** The same with a timing per op. */
  time(sizes: StepSizes): OpTiming[] {
    return this.#steps.map(({ op }, index) => {
      const start = performance.now();
      this.#runOp(index, sizes);
      return { index, op, microseconds: (performance.now() - start) * 1000 };
    });
  }

  #runOp(index: number, sizes: StepSizes): void {
    const { op, run } = this.#steps[index]!;
    try {
      run(sizes);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new DeviceError(`program ${this.program.name}, op ${index} (${op}): ${reason}.`, op, { cause });
    }
    this.#counts[op] = (this.#counts[op] ?? 0) + 1;
  }

  #placeTemporaries(plan: MemoryPlan): void {
    // Temporaries are uninitialised: all bits set is NaN or NONE, so that whoever reads before it writes is seen.
    const arenas = plan.arenas.map(bytes => new Uint8Array(bytes).fill(0xff).buffer);
    for (const [name, place] of Object.entries(plan.places)) {
      const { dtype, shape } = this.program.tensors[name]!;
      const spec = { name, dtype, shape: resolveShape(shape, this.program.maxSizes), usage: 'state' as const };
      const memory = { buffer: arenas[place.arena]!, offset: place.offset };
      this.#temporaries[name] = new ReferenceTensor(spec, this.#host.ledger, memory);
    }
  }

  #makeKernel(op: Op): RunOp {
    const tensors: Record<string, unknown> = {};
    for (const { field, name, operand } of opTensors(op)) {
      const storage = this.#temporaries[name] ?? this.bindings[name]!;
      const view = this.#view(name);
      tensors[field] = operand.role === 'u32' ? words(view, storage) : floats(view, storage);
    }
    const kernel = kernels[op.op] as Kernel<OpName>;
    return kernel(op, tensors as Parameters<typeof kernel>[1], this.#host.communicators);
  }

  /** `| 0` keeps sizes integers for V8 too: one that it holds as a double makes every loop over it a loop over doubles. */
  #view(name: TensorName): View {
    const [lead, ...inner] = this.program.tensors[name]!.shape;
    const width = elementCount(inner, this.program.maxSizes) | 0;
    return { width, rows: sizes => (typeof lead === 'number' ? lead : sizes[lead!]) | 0 };
  }
}
