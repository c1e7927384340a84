/** Model folders: where files come from, and what checkpoints and configuration files hold. */
export { type ModelFormatDetails, ModelFormatError } from '../errors.ts';
export { type CheckpointFormat, openCheckpoint } from './checkpoint.ts';
export { isModuleFile, isPlainFileName, shortRead } from './file-name.ts';
export { openGguf } from './gguf/source.ts';
export { type JsonCodes, readJsonObject } from './json-file.ts';
export { JsonFloat, type JsonValue, showJson } from './json-tree.ts';
export { MemorySource } from './memory-source.ts';
export {
  type Checkpoint,
  type CheckpointDType,
  type CheckpointTensor,
  checkpointDTypeBytes,
  type ModelSource,
  type WeightCache,
} from './types.ts';
