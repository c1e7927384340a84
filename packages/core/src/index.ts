/** The engine core: everything a Node or browser entry needs to load a model and to serve requests. */

export { type Adapter, checkAdapterName, type LoraRequest } from './engine/adapters.ts';
export { AsyncLLM, type GenerateOptions } from './engine/async-llm.ts';
export { BlockManager } from './engine/block-manager.ts';
export type { BlockObserver } from './engine/block-observer.ts';
export { BlockTable } from './engine/block-table.ts';
export type { LLMEngineConfig } from './engine/create-scheduler.ts';
export {
  type ArgType,
  type EngineArg,
  type EngineArgName,
  engineArgs,
  engineOptionNames,
} from './engine/engine-args.ts';
export { type EngineConfig, type EngineOptions, parseEngineConfig } from './engine/engine-config.ts';
export type { AddOptions, LLMEngineOptions } from './engine/engine-options.ts';
export type { EngineObserver, EngineStats, FinishedRequest, StepReport } from './engine/engine-stats.ts';
export {
  type FinishedBeam,
  type FrontAddOptions,
  type FrontRequest,
  FrontRequests,
  type FrontRequestsOptions,
} from './engine/front-requests.ts';
export { LLMEngine } from './engine/llm-engine.ts';
export type { RequestGroup, SequenceOutput } from './engine/output-processor.ts';
export type * from './engine/outputs.ts';
export {
  type EmbeddingForm,
  type EmbeddingOutput,
  type EmbedParams,
  embeddingOf,
  embeddingOutput,
  type PoolingParams,
  requireGeneration,
  requirePooling,
  resolvePooling,
} from './engine/pooling-params.ts';
export { MAX_TRUNCATED_CONTEXTS, type PromptInput } from './engine/prompt.ts';
export type { OutputKind } from './engine/request-output.ts';
export { RequestStream } from './engine/request-stream.ts';
export { type RequestContext, type ResolvedRequest, resolveRequest } from './engine/resolve-request.ts';
export type { ResumedCompletion } from './engine/resume.ts';
export type { BatchSize } from './engine/step-reporter.ts';
export type * from './engine/step-trace.ts';
export * from './errors.ts';
export { LLM, type LLMOptions, type Progress, type RunOptions } from './llm/llm.ts';
export { type LoadEngineOptions, type LoadedEngine, loadEngine } from './llm/load-engine.ts';
export {
  type DeviceOptions,
  type LLMRuntime,
  type ModelInputs,
  openModelInputs,
  type SourceOptions,
  wantedWeights,
} from './llm/model-inputs.ts';
export { type RankWeightsOptions, rankWeights } from './llm/rank-weights.ts';
export type * from './models/config.ts';
export { parseGenerationConfig, parseModelConfig } from './models/parse-config.ts';
export { tensorChunks } from './models/weight-chunks.ts';
export { nearestName, show, suggestion, toCamelCase, toSnakeCase } from './names.ts';
export { samplingParamNames } from './sampling/checks.ts';
export { MAX_N } from './sampling/randomness.ts';
export { longestPrompt, resolveSamplingParams, type SamplingLimits } from './sampling/resolve.ts';
export type {
  LogitsContext,
  LogitsProcessor,
  ResolvedSamplingParams,
  SamplingParams,
  ThinkingBudget,
} from './sampling/sampling-params.ts';
export { truncatedLength } from './sampling/truncation.ts';
export type { GrammarPort } from './structured-output/grammar-messages.ts';
export type { StructuredOutputs } from './structured-output/structured-outputs.ts';
export * from './tokenizer/index.ts';
export * from './weights/index.ts';
export * from './worker/index.ts';
