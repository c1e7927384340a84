export type { Architecture, DecoderStyle } from './architecture.ts';
export { buildModelProgram, widestActivation } from './decoder.ts';
export type { ModelProgramOptions } from './decoder-ops.ts';
export { type CacheShape, cacheBlockBytes, cacheTensors, declareCaches } from './kv-caches.ts';
export {
  type LoadedWeights,
  loadWeights,
  planLoading,
  type WeightDevice,
  type WeightSupply,
} from './load-weights.ts';
export {
  type AdapterLayer,
  type AdapterTarget,
  type AdapterWeights,
  type LoraShape,
  layerColumns,
  loadAdapter,
  loraLayers,
  loraTensors,
} from './lora/index.ts';
export {
  type ModelWeight,
  type PlacedWeight,
  planWeights,
  type WeightLayout,
  type WeightPart,
} from './model-weights.ts';
export { checkMethod, isPackedMethod, type Quantization } from './quantization.ts';
export { architectureOf, supportedArchitectures } from './registry.ts';
export { buildRopeTable, ropeFrequencies, ropeTables } from './rope-table.ts';
export { type ModelShards, planShards, shardConfig, shardWeights } from './shards.ts';
export { assignStages, checkStages, layersPerStage, stageOfLayer, stageOfWeight } from './stages.ts';
export {
  declareState,
  maximalShape,
  pooledTensor,
  pooledWidth,
  type RowStateShape,
  type StateName,
  type StateTensor,
  stateTensors,
} from './state-tensors.ts';
export { tensorChunks } from './weight-chunks.ts';
export { mapWeights, type WeightMap } from './weight-map.ts';
