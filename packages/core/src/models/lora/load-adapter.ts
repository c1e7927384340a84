import type { FloatDType, TypedArray } from '../../contract/contract.ts';
import { InvalidRequestError, ModelFormatError } from '../../errors.ts';
import { encodeFloats } from '../../program/index.ts';
import { openSafetensors } from '../../weights/checkpoint.ts';
import type { Checkpoint, CheckpointTensor, ModelSource } from '../../weights/types.ts';
import type { ModelConfig } from '../config.ts';
import { architectureOf } from '../registry.ts';
import { planShards } from '../shards.ts';
import { tensorChunks } from '../weight-chunks.ts';
import { type AdapterConfig, ofModule, readAdapterConfig } from './adapter-config.ts';
import { ADAPTER_WEIGHTS, type ModulePair, mapModules } from './adapter-modules.ts';
import { type LoraLayer, type LoraSlice, layerColumns, loraLayers } from './lora-layers.ts';
import { type AdapterLayer, shardLayer } from './shard-layer.ts';

/** What an adapter is loaded for. */
export interface AdapterTarget {
  readonly config: ModelConfig;
  /** The largest that an adapter may have: that of the room on the device. */
  readonly maxRank: number;
  /** In which it is kept, and lies on the device. */
  readonly dtype: FloatDType;
  /** Of a tensor-parallel group, which divide it as they divide the model. Default 1. */
  readonly ranks?: number;
}

/** An adapter in host memory, in the layout of the device: matrices filled up with zeros to the rank of its room. */
export interface AdapterWeights {
  readonly dtype: FloatDType;
  /** The largest of its modules. */
  readonly rank: number;
  /** What each rank of a group holds, by the layer's name. Layers that it does not change are missing. */
  readonly layers: ReadonlyMap<string, readonly AdapterLayer[]>;
}

/**
 * Loads a LoRA adapter (Hu et al. 2021) from a folder as PEFT saves it: adapter_config.json and adapter_model.safetensors. Nothing
 * else is read.
 * @throws ModelFormatError when it does not fit the model, or asks for more than low-rank changes of linear layers; InvalidRequestError
 * when its rank is above the room for it.
 */
export async function loadAdapter(source: ModelSource, target: AdapterTarget): Promise<AdapterWeights> {
  const layers = loraLayers(target.config);
  const settings = withOwnNames(await readAdapterConfig(source), layers, target.config);
  checkRank(settings, target.maxRank);
  const checkpoint = await openSafetensors(source, ADAPTER_WEIGHTS);
  const pairs = mapModules(checkpoint, layers, settings, target.config);
  const shards = planShards(target.config, target.ranks ?? 1);
  const loaded = new Map<string, readonly AdapterLayer[]>();
  for (const layer of layers) {
    if (layer.slices.some(({ module }) => pairs.has(module))) {
      loaded.set(layer.name, shardLayer(layer, await loadLayer(checkpoint, layer, pairs, settings, target), shards));
    }
  }
  const rank = Math.max(...[...pairs.values()].map(({ a }) => a.shape[0]!));
  return { dtype: target.dtype, rank, layers: loaded };
}

/** Whole names of modules, which begin like those of the model's class, as modules are called here: without that beginning. */
function withOwnNames(settings: AdapterConfig, layers: readonly LoraLayer[], config: ModelConfig): AdapterConfig {
  const modules = new Set(layers.flatMap(({ slices }) => slices.map(({ module }) => module)));
  const own = (name: string) => {
    const names = architectureOf(config).prefixes.filter(prefix => name.startsWith(prefix));
    return names.map(prefix => name.slice(prefix.length)).find(module => modules.has(module)) ?? name;
  };
  const renamed = (entries: ReadonlyMap<string, number>) =>
    new Map([...entries].map(([name, value]) => [own(name), value] as const));
  return {
    ...settings,
    rankPattern: renamed(settings.rankPattern),
    alphaPattern: renamed(settings.alphaPattern),
    targets: settings.targets?.map(own) ?? null,
  };
}

function checkRank({ rank, rankPattern }: AdapterConfig, maxRank: number): void {
  const largest = Math.max(rank, ...rankPattern.values());
  if (largest <= maxRank) return;
  throw new InvalidRequestError(
    `The adapter has rank ${largest}, but maxLoraRank of this engine is ${maxRank}. Start it with --max-lora-rank ${largest}.`,
    'lora_path',
  );
}

async function loadLayer(
  checkpoint: Checkpoint,
  layer: LoraLayer,
  pairs: ReadonlyMap<string, ModulePair>,
  settings: AdapterConfig,
  { maxRank, dtype }: AdapterTarget,
): Promise<AdapterLayer> {
  const { slices, depth } = layer;
  const a = new Float32Array(slices.length * maxRank * depth);
  const b = new Float32Array(layerColumns(layer) * maxRank);
  const scales = new Float32Array(slices.length);
  let column = 0;
  for (const [index, slice] of slices.entries()) {
    const pair = pairs.get(slice.module);
    if (pair !== undefined) {
      a.set(await readValues(checkpoint, pair.a), index * maxRank * depth);
      copyRows(await readValues(checkpoint, pair.b), pair.b.shape[1]!, slice, b.subarray(column * maxRank), maxRank);
      scales[index] = scaleOf(slice.module, settings);
      if (!Number.isFinite(scales[index]!))
        throw settings.fields.bad('lora_alpha', 'a scale that f32 holds', 'CF_FIELD');
    }
    column += slice.columns;
  }
  return { a: encoded(dtype, a), b: encoded(dtype, b), scales };
}

function scaleOf(module: string, { rank, alpha, rankPattern, alphaPattern, usesRsLora }: AdapterConfig): number {
  const own = ofModule(rankPattern, module, rank);
  return ofModule(alphaPattern, module, alpha) / (usesRsLora ? Math.sqrt(own) : own);
}

/** Rows of `rank` values of B that a slice takes, each into one of `maxRank`. */
function copyRows(
  values: Float32Array,
  rank: number,
  { columns, slice }: LoraSlice,
  into: Float32Array,
  maxRank: number,
): void {
  const { firstRow = 0, blockRows = columns, stride = 0 } = slice ?? {};
  for (let i = 0; i < columns; i++) {
    const row = firstRow + Math.floor(i / blockRows) * stride + (i % blockRows);
    into.set(values.subarray(row * rank, (row + 1) * rank), i * maxRank);
  }
}

/** All values of a tensor, in f32. Throws ModelFormatError WT_VALUE where one is not finite. */
async function readValues(checkpoint: Checkpoint, tensor: CheckpointTensor): Promise<Float32Array> {
  const values = new Float32Array(tensor.shape.reduce((product, dim) => product * dim, 1));
  const bytes = new Uint8Array(values.buffer);
  let at = 0;
  for await (const chunk of tensorChunks(checkpoint, tensor, 'f32')) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  const bad = values.findIndex(value => !Number.isFinite(value));
  if (bad < 0) return values;
  throw new ModelFormatError('WT_VALUE', 'the tensor has a value that is not finite', {
    file: ADAPTER_WEIGHTS,
    tensor: tensor.name,
    found: `${values[bad]} at ${bad}`,
    expected: 'finite numbers',
    advice: 'Save the adapter again.',
  });
}

/** Throws ModelFormatError WT_VALUE where a value is beyond the dtype. */
function encoded(dtype: FloatDType, values: Float32Array): TypedArray {
  if (dtype === 'f32') return values;
  const words = encodeFloats(dtype, values);
  const infinite = dtype === 'f16' ? 0x7c00 : 0x7f80;
  const bad = words.findIndex(word => (word & infinite) === infinite);
  if (bad < 0) return words;
  throw new ModelFormatError('WT_VALUE', `a value is beyond ${dtype}, the dtype of this engine's adapters`, {
    file: ADAPTER_WEIGHTS,
    found: String(values[bad]),
    expected: `values that ${dtype} holds`,
    advice: 'Start the engine with dtype bfloat16 or float32.',
  });
}
