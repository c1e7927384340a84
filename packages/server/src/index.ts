/** Quire in Node: offline inference, and the OpenAI-compatible server. */
export type {
  ChatMessage,
  CompletionOutput,
  EngineOptions,
  FinishReason,
  LLMOptions,
  PositionLogprobs,
  Progress,
  PromptInput,
  RequestOutput,
  RunOptions,
  SamplingParams,
} from '@quire/core';
export {
  ConfigError,
  EngineClosedError,
  EngineError,
  InvalidRequestError,
  ModelFormatError,
  QueueFullError,
  QuireError,
} from '@quire/core';
export { openFolderSource } from './node/folder-source.ts';
export { LLM, nodeRuntime } from './node/llm.ts';
export { type DeviceKind, type DeviceStatus, deviceKinds, openDevice, probeDevices } from './node/open-device.ts';
export { type RunningServer, type ServerOptions, startServer } from './serve/start-server.ts';
