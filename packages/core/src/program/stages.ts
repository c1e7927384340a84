import type { Program } from '../contract/contract.ts';
import { opTensors } from './operands.ts';

/** What one stage of a pipeline runs of a Program: its own ops and those of all, with the tensors that they use. */
export function programOfStage(program: Program, stage: number): Program {
  const ops = program.ops.filter(op => op.stage === undefined || op.stage === stage);
  const used = new Set(ops.flatMap(op => opTensors(op).map(({ name }) => name)));
  const tensors = Object.entries(program.tensors).filter(([name]) => used.has(name));
  return { ...program, tensors: Object.fromEntries(tensors), ops };
}
