import type { Bindings, DeviceTensor, Program, ProgramTensor, StepSizes, TensorName } from '../contract/contract.ts';
import { opTensors } from './operands.ts';
import { ProgramError } from './program-error.ts';
import { formatTensor, sizeNames } from './shapes.ts';

/**
 * Throws ProgramError unless `bindings` has a fitting tensor for every external one: same dtype and shape, where a size of the
 * step in the first dimension asks for at least its maximum. Other bindings are ignored, so that programs may share a map. No op may reach one tensor under two names if it writes it.
 */
export function checkBindings(program: Program, bindings: Bindings): void {
  for (const [name, tensor] of Object.entries(program.tensors)) {
    if (tensor.kind === 'external') checkBinding(program, name, tensor, bindings[name]);
  }
  checkAliases(program, bindings);
}

function checkBinding(
  program: Program,
  name: TensorName,
  tensor: ProgramTensor,
  bound: DeviceTensor | undefined,
): void {
  const expected = formatTensor(tensor);
  if (bound === undefined) {
    throw new ProgramError({ program: program.name, tensor: `external "${name}"`, found: 'no binding', expected });
  }
  const { dtype, shape } = bound.spec;
  const fits = tensor.shape.every((dim, axis) =>
    typeof dim === 'number' ? shape[axis] === dim : shape[axis]! >= program.maxSizes[dim],
  );
  if (dtype === tensor.dtype && shape.length === tensor.shape.length && fits) return;
  const lead = tensor.shape[0]!;
  throw new ProgramError({
    program: program.name,
    tensor: `external "${name}"`,
    found: `${formatTensor(bound.spec)} (${bound.spec.name})`,
    expected: typeof lead === 'number' ? expected : `${expected} with ${lead} at least ${program.maxSizes[lead]}`,
  });
}

function checkAliases(program: Program, bindings: Bindings): void {
  program.ops.forEach((op, opIndex) => {
    const tensors = opTensors(op).filter(({ name }) => bindings[name] !== undefined);
    for (const written of tensors) {
      if (written.operand.access === 'read') continue;
      const other = tensors.find(({ name }) => name !== written.name && bindings[name] === bindings[written.name]);
      if (other === undefined) continue;
      throw new ProgramError({
        program: program.name,
        opIndex,
        op: op.op,
        tensor: `${written.field} "${written.name}"`,
        found: `the device tensor that is also bound to ${other.field} "${other.name}"`,
        expected: 'one name for a tensor that the op writes',
      });
    }
  });
}

/** Throws ProgramError unless the sizes of a step are integers within the Program's maxSizes. */
export function checkSizes(program: Program, sizes: StepSizes): void {
  for (const name of sizeNames) {
    const size = sizes[name];
    if (Number.isInteger(size) && size >= 0 && size <= program.maxSizes[name]) continue;
    throw new ProgramError({
      program: program.name,
      found: `${name} = ${size}`,
      expected: `an integer from 0 to ${program.maxSizes[name]} (maxSizes)`,
    });
  }
  if (sizes.decodeSequences <= sizes.sequences) return;
  throw new ProgramError({
    program: program.name,
    found: `decodeSequences = ${sizes.decodeSequences}`,
    expected: `at most sequences (${sizes.sequences})`,
  });
}
