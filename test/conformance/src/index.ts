export { breakDevice, type Fault } from './broken-device.ts';
export { conformanceCases } from './cases/index.ts';
export {
  type CaseResult,
  type CrosscheckFailure,
  type CrosscheckOptions,
  type CrosscheckReport,
  type NamedDevice,
  type OpReport,
  replayCommand,
  runCrosscheck,
  whyNotOffered,
} from './crosscheck.ts';
export {
  type CrosscheckModelOptions,
  crosscheckModel,
  type ModelDevice,
  type ModelReport,
  type TensorDifference,
} from './crosscheck-model.ts';
export { formatTable } from './format-table.ts';
export { judge, triviality, type Verdict } from './judge.ts';
export { type CaseOutcome, CaseRunner, poison } from './run-case.ts';
export { sameBits } from './same-bits.ts';
export type { CaseInputs, CheckArguments, Comparison, ConformanceCase, OutputCheck } from './types.ts';
