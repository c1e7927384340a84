import { QuireError } from '../errors.ts';

/** Where a Program, its bindings or its sizes are wrong. */
export interface ProgramErrorDetails {
  program: string;
  /** Index into `Program.ops`. */
  opIndex?: number;
  op?: string;
  /** The tensor's name in the Program, with the op's field where there is one, such as `weight "layers.0.qkv"`. */
  tensor?: string;
  found: string;
  expected: string;
}

/** A Program breaks a rule of the contract. The message names op index, op, tensor, what was found and what was expected. */
export class ProgramError extends QuireError {
  override readonly name = 'ProgramError';
  readonly details: Readonly<ProgramErrorDetails>;
  constructor(details: ProgramErrorDetails) {
    super('invalid_program', describe(details));
    this.details = details;
  }
}

function describe(d: ProgramErrorDetails): string {
  const where = [`program ${d.program}`];
  if (d.op !== undefined) where.push(d.opIndex === undefined ? d.op : `op ${d.opIndex} (${d.op})`);
  if (d.tensor !== undefined) where.push(d.tensor);
  return `${where.join(', ')}: found ${d.found}, expected ${d.expected}.`;
}
