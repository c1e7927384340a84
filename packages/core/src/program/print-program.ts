import type { Op, Program } from '../contract/contract.ts';
import { opTensors } from './operands.ts';
import { formatTensor, sizeNames } from './shapes.ts';

/**
 * A Program as text: maxSizes, tensors, then one line per op with what it reads, what it writes (`&` marks a tensor that is
 * changed in place) and its attributes. Equal programs print equally, so the text can be kept as a snapshot.
 */
export function printProgram(program: Program): string {
  const sizes = sizeNames
    .filter(name => program.maxSizes[name] > 0)
    .map(name => `${name} <= ${program.maxSizes[name]}`);
  const lines = [`program ${program.name} (${sizes.join(', ')})`];
  for (const kind of ['external', 'temporary'] as const) {
    const tensors = Object.entries(program.tensors).filter(([, tensor]) => tensor.kind === kind);
    if (tensors.length > 0) lines.push('', kind === 'external' ? 'externals' : 'temporaries');
    const width = Math.max(...tensors.map(([name]) => name.length));
    for (const [name, tensor] of tensors) lines.push(`  ${name.padEnd(width)}  ${formatTensor(tensor)}`);
  }
  lines.push('', 'ops');
  const digits = String(program.ops.length - 1).length;
  program.ops.forEach((op, index) => {
    lines.push(`  ${String(index).padStart(digits)}  ${printOp(op)}`);
  });
  return `${lines.join('\n')}\n`;
}

/** `rope positions=positions table=rope -> qkv=&qkv heads=6 ...` */
export function printOp(op: Op): string {
  const tensors = opTensors(op);
  const names = new Map<string, number>();
  for (const { name } of tensors) names.set(name, (names.get(name) ?? 0) + 1);
  const reads: string[] = [];
  const writes: string[] = [];
  for (const { field, name, operand } of tensors) {
    if (operand.access === 'read') reads.push(`${field}=${name}`);
    else writes.push(`${field}=${operand.access === 'update' || names.get(name)! > 1 ? '&' : ''}${name}`);
  }
  const fields = new Set(['op', ...tensors.map(({ field }) => field)]);
  const attributes = Object.entries(op)
    .filter(([field, value]) => !fields.has(field) && value !== undefined)
    .map(([field, value]) => `${field}:${value}`);
  return [op.op, ...reads, '->', ...writes, ...attributes].join(' ');
}
