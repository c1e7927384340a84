import type { Dim, DType, Op, Program, ProgramTensor, StepSizes, TensorName } from '../contract/contract.ts';
import { ProgramError } from './program-error.ts';
import { validateProgram } from './validate.ts';

/** Makes a Program: declare tensors, add ops in order, build. */
export class ProgramBuilder {
  readonly #name: string;
  readonly #maxSizes: StepSizes;
  readonly #tensors: Record<TensorName, ProgramTensor> = {};
  readonly #ops: Op[] = [];
  #stage: number | undefined;

  constructor(name: string, maxSizes: StepSizes) {
    this.#name = name;
    this.#maxSizes = { ...maxSizes };
  }

  /** A tensor that is bound at compile. A size of the step may only be its first dimension. Returns the name. */
  external(name: TensorName, dtype: DType, shape: readonly Dim[]): TensorName {
    return this.#declare(name, { dtype, shape: [...shape], kind: 'external' });
  }

  /** A tensor that the memory plan places; it holds garbage until an op writes it. Returns the name. */
  temporary(name: TensorName, dtype: DType, shape: readonly Dim[]): TensorName {
    return this.#declare(name, { dtype, shape: [...shape], kind: 'temporary' });
  }

  add(op: Op): void {
    this.#ops.push(this.#stage === undefined ? { ...op } : { ...op, stage: this.#stage });
  }

  /** Ops that are added from now on run on one stage of a pipeline, or on all (undefined). */
  onStage(stage: number | undefined): void {
    this.#stage = stage;
  }

  /** Throws ProgramError that names op index, op, tensor, what was found and what was expected. */
  build(): Program {
    const program: Program = {
      name: this.#name,
      tensors: { ...this.#tensors },
      ops: [...this.#ops],
      maxSizes: { ...this.#maxSizes },
    };
    validateProgram(program);
    return program;
  }

  #declare(name: TensorName, tensor: ProgramTensor): TensorName {
    if (Object.hasOwn(this.#tensors, name)) {
      throw new ProgramError({
        program: this.#name,
        tensor: `"${name}"`,
        found: 'a second declaration',
        expected: 'one declaration per name',
      });
    }
    this.#tensors[name] = tensor;
    return name;
  }
}
