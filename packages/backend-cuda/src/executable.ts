import {
  DeviceError,
  type DeviceTensor,
  type Executable,
  type OpName,
  type OpTiming,
  type Program,
  type StepSizes,
  type TensorName,
} from '@quire/core/contract';
import { checkSizes, type MemoryPlan, resolveShape } from '@quire/core/program';
import type { NativeDevice } from './addon.ts';
import { sizeWords } from './compile.ts';
import { CudaTensor } from './tensor.ts';

export interface ExecutableParts {
  readonly program: Program;
  readonly native: NativeDevice;
  readonly planId: number;
  readonly plan: MemoryPlan;
  /** Handles of the arenas. */
  readonly arenas: readonly number[];
  readonly keepAll: boolean;
  readonly release: () => void;
}

/** A compiled Program: a native plan, and the arenas of its temporaries. */
export class CudaExecutable implements Executable {
  readonly program: Program;
  readonly planId: number;
  readonly #parts: ExecutableParts;
  #disposed = false;

  constructor(parts: ExecutableParts) {
    this.program = parts.program;
    this.planId = parts.planId;
    this.#parts = parts;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  tensor(name: TensorName): DeviceTensor {
    const { program, plan, arenas, keepAll } = this.#parts;
    const place = plan.places[name];
    if (place === undefined)
      throw new DeviceError(`program ${program.name}: found "${name}", expected a temporary of it.`);
    if (!keepAll) {
      throw new DeviceError(`program ${program.name}: temporaries stay readable only when compiled with keepAll.`);
    }
    const { dtype, shape } = program.tensors[name]!;
    const spec = { name, dtype, shape: resolveShape(shape, program.maxSizes), usage: 'state' as const };
    return new CudaTensor(spec, { handle: arenas[place.arena]!, offset: place.offset }, () => {});
  }

  async profile(sizes: StepSizes): Promise<OpTiming[]> {
    checkSizes(this.program, sizes);
    const times = await this.#parts.native.profile(this.planId, sizeWords(sizes));
    return times.map((microseconds, index) => ({ index, op: this.program.ops[index]!.op, microseconds }));
  }

  opCounts(): Partial<Record<OpName, number>> {
    const counts: Partial<Record<OpName, number>> = {};
    this.#parts.native.opCounts(this.planId).forEach((runs, index) => {
      const { op } = this.program.ops[index]!;
      counts[op] = (counts[op] ?? 0) + runs;
    });
    return counts;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#parts.release();
  }
}
