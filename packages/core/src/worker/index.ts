export {
  createModelRunner,
  type DraftSupply,
  type ModelRunnerOptions,
  type ModelSupply,
  weightSupply,
} from './create-runner.ts';
export { DebugRunner, type DebugRunnerOptions, openDebugRunner } from './debug-runner.ts';
export { type KvBudget, type KvCacheQuestion, type KvCacheSize, kvCacheSize } from './kv-cache-size.ts';
export { type MemoryNeed, memoryNeed } from './memory-need.ts';
export { chooseDTypes, type ModelDTypes } from './model-dtypes.ts';
export { ModelRunner } from './model-runner.ts';
export type { StageTimer } from './stage-timer.ts';
export type {
  BlockGrant,
  ExecutorLimits,
  ModelExecutor,
  NewRow,
  RowEdit,
  RowSampling,
  SchedulerOutput,
  SleepingExecutor,
  StepLogprobs,
  StepResult,
} from './types.ts';
export type { WorkerConfig } from './worker-config.ts';
