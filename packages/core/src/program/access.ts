import type { Op, TensorName } from '../contract/contract.ts';
import { opTensors } from './operands.ts';

/** Tensors that an op reads and writes, each once. A tensor that is changed in place is in both lists. */
export interface OpAccess {
  reads: TensorName[];
  writes: TensorName[];
}

export function opAccess(op: Op): OpAccess {
  const reads = new Set<TensorName>();
  const writes = new Set<TensorName>();
  for (const { name, operand } of opTensors(op)) {
    if (operand.access !== 'write') reads.add(name);
    if (operand.access !== 'read') writes.add(name);
  }
  return { reads: [...reads], writes: [...writes] };
}
