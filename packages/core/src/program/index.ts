export { type OpAccess, opAccess } from './access.ts';
export { ProgramBuilder } from './builder.ts';
export { checkBindings, checkSizes } from './check-run.ts';
export {
  bfloat16ToFloat,
  convertFloats,
  decodeFloats,
  e4m3Table,
  encodeFloats,
  floatToBfloat16,
  floatToE4m3,
  floatToHalf,
  halfTable,
  halfToFloat,
} from './float-formats.ts';
export { type MemoryPlan, type MemoryPlanOptions, type Place, planMemory } from './memory-plan.ts';
export { assertOffered, offers } from './offers.ts';
export { opNames, opStem } from './op-names.ts';
export { type Operand, type OpTensor, operandTable, opTensors, type Role, type TensorField } from './operands.ts';
export { printOp, printProgram } from './print-program.ts';
export { ProgramError, type ProgramErrorDetails } from './program-error.ts';
export { dequantize, QuantizeError, quantizeRows } from './quantize.ts';
export { type DeltaTargetId, RowDelta } from './row-delta.ts';
export { elementCount, formatShape, formatTensor, noSizes, resolveShape, sizeNames, tensorBytes } from './shapes.ts';
export { programOfStage } from './stages.ts';
export { validateProgram } from './validate.ts';
export { wholeRecords } from './whole-records.ts';
