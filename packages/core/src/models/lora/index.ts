export { type AdapterTarget, type AdapterWeights, loadAdapter } from './load-adapter.ts';
export { type LoraLayer, type LoraShape, layerColumns, loraLayers, loraTensors } from './lora-layers.ts';
export type { AdapterLayer } from './shard-layer.ts';
