import {
  DeviceError,
  type DeviceInfo,
  type DType,
  type DTypeTable,
  type Op,
  type OpDTypes,
  type Program,
} from '../contract/contract.ts';
import { opTensors, type Role } from './operands.ts';

const lists = { activation: 'activations', weight: 'weights', kv: 'kv' } as const satisfies Partial<
  Record<Role, keyof OpDTypes>
>;

/** Whether a device with this dtype table offers an op with the dtypes of its tensors; if not, why. */
export function offers(table: DTypeTable, op: Op, program: Program): true | string {
  const entry = table[op.op];
  if ('unsupported' in entry) return `${op.op} is not offered: ${entry.unsupported}`;
  for (const { field, name, operand } of opTensors(op)) {
    if (operand.role === 'u32' || operand.role === 'f32') continue;
    const list = lists[operand.role];
    const { dtype } = program.tensors[name]!;
    const offered: readonly DType[] = entry[list] ?? [];
    if (offered.includes(dtype)) continue;
    return `${op.op} does not offer ${list} in ${dtype} (${field} "${name}"); it offers ${offered.join(', ') || 'none'}`;
  }
  return true;
}

/** Throws DeviceError for the first op of a Program that the device does not offer. Every backend's compile calls it. */
export function assertOffered(info: DeviceInfo, program: Program): void {
  program.ops.forEach((op, index) => {
    const answer = offers(info.dtypes, op, program);
    if (answer === true) return;
    throw new DeviceError(`program ${program.name}, op ${index}, device ${info.kind}: ${answer}.`, op.op);
  });
}
