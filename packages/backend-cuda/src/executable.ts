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
  /** Turns a rejection of the addon into an error of the device. */
  readonly settled: <T>(promise: Promise<T>) => Promise<T>;
  readonly release: () => void;
}

/** A compiled Program: a native plan, and the arenas of its temporaries. */
export class CudaExecutable implements Executable {
  readonly program: Program;
  readonly planId: number;
  readonly #parts: ExecutableParts;
  #disposed = false;
  #lostBinding: string | undefined;

  constructor(parts: ExecutableParts) {
    this.program = parts.program;
    this.planId = parts.planId;
    this.#parts = parts;
  }

  /** Throws DeviceError when it can no longer run. */
  checkLive(): void {
    if (this.#disposed) {
      throw new DeviceError(`program ${this.program.name}: found a disposed executable, expected a live one.`);
    }
    if (this.#lostBinding !== undefined) {
      throw new DeviceError(
        `program ${this.program.name}: found tensor ${this.#lostBinding} disposed, expected a live one.`,
      );
    }
  }

  /** A tensor that it is bound to was disposed of. */
  loseBinding(tensor: string): void {
    this.#lostBinding ??= tensor;
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
    const times = await this.#parts.settled(this.#parts.native.profile(this.planId, sizeWords(sizes)));
    return times.map((microseconds, index) => ({ index, op: this.program.ops[index]!.op, microseconds }));
  }

  opCounts(): Partial<Record<OpName, number>> {
    const runs = this.#parts.native.runs(this.planId);
    const counts: Partial<Record<OpName, number>> = {};
    for (const { op } of runs > 0 ? this.program.ops : []) counts[op] = (counts[op] ?? 0) + runs;
    return counts;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#parts.release();
  }
}
