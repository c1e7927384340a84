import {
  type Device,
  type DeviceTensor,
  type FloatDType,
  isQuantDType,
  type QuantDType,
  quantFormats,
  type WeightDType,
} from '../contract/contract.ts';
import { ModelFormatError } from '../errors.ts';
import { encodeFloats, QuantizeError } from '../program/index.ts';
import type { Checkpoint, WeightCache } from '../weights/types.ts';
import type { ModelConfig } from './config.ts';
import { DummyWeights } from './dummy-weights.ts';
import {
  type ModelWeight,
  type PlacedWeight,
  planWeights,
  type WeightLayout,
  type WeightPart,
} from './model-weights.ts';
import { openPacked } from './packed/checkpoint.ts';
import { checkMethod, checkQuantization, isQuantised } from './quantization.ts';
import { architectureOf } from './registry.ts';
import { type ModelShards, planShards, shardWeights } from './shards.ts';
import { assignStages } from './stages.ts';
import { cutOf, oneMore, quantizedChunks, rawBytes, stackedChunks } from './weight-chunks.ts';
import { canUploadFiles, type StackedRows, uploadFromFiles } from './weight-files.ts';
import { chooseDType, dtypeSources, mapWeights, type WeightMap } from './weight-map.ts';

/** Where weights come from: a checkpoint, or a seed for stand-ins (`loadFormat: 'dummy'`). */
export type WeightSupply =
  | { readonly checkpoint: Checkpoint; readonly cache?: WeightCache }
  | { readonly dummySeed: number };

export interface LoadedWeights {
  readonly layout: WeightLayout;
  /** Device tensors by their name in the Program. */
  readonly tensors: Readonly<Record<string, DeviceTensor>>;
  /** On the ranks of all stages together, one of each. */
  readonly bytes: number;
  dispose(): void;
}

/** Of weights that the device reads from the files by itself. Those that are read here come in turn. */
const UPLOADS_AT_ONCE = 2;

/** Fills one part of a weight on one rank. */
type PartUpload = (tensor: DeviceTensor, placed: PlacedWeight, part: WeightPart, rank: number) => Promise<void>;

/** What loading asks of a device. */
export type WeightDevice = Pick<Device, 'info' | 'upload' | 'uploadFiles'>;

/** Where each weight is to lie, and how it gets there. */
export interface WeightPlan {
  /** In the order of the files, as far as the checkpoint shows where a tensor lies. */
  readonly layout: WeightLayout;
  readonly upload: PartUpload;
}

/**
 * Brings a model's weights to the device, chunk by chunk: the host never holds more than a few chunks. Weights keep the
 * checkpoint's dtype (or take the one asked for) where the device offers it, and become f32 on the way where not. Throws ModelFormatError before
 * anything is uploaded when the checkpoint does not fit the configuration. Of a group of devices, each rank gets its shard.
 * With `quantization`, matrices of linear layers are quantised row by row on the way; ConfigError where they cannot be. Those that a
 * checkpoint has in few bits stay so where a dtype holds them as they are.
 */
export async function loadWeights(
  device: Device,
  config: ModelConfig,
  supply: WeightSupply,
  dtype: FloatDType | 'auto' = 'auto',
  quantization: QuantDType | null = null,
): Promise<LoadedWeights> {
  return uploadAll(device, await planLoading(device, config, supply, dtype, quantization));
}

/** What `loadWeights` decides before it uploads. Throws as that does. */
export async function planLoading(
  device: WeightDevice,
  config: ModelConfig,
  given: WeightSupply,
  dtype: FloatDType | 'auto',
  quantization: QuantDType | null,
): Promise<WeightPlan> {
  checkMethod(quantization, config);
  const supply = await unpacked(given, config);
  const shards = planShards(config, device.info.ranks);
  const staged = assignStages(architectureOf(config).weights(config), config, device.info.stages);
  const weights = shardWeights(staged, shards);
  const map = 'checkpoint' in supply ? mapWeights(config, supply.checkpoint) : null;
  checkQuantization(quantization, weights, device.info);
  const planned = planWeights(
    weights,
    weight => {
      if (weight.addOne) return 'f32';
      if (quantization !== null && isQuantised(weight)) return quantization;
      const records = sharedRecords(weight, map, shards);
      if (records !== null && offersWeight(device, weight.ops, records)) return records;
      const stored = dtype === 'auto' ? storedDTypes(weight, weights, map, config) : [dtype];
      return chooseDType(stored, candidate => offersWeight(device, weight.ops, candidate));
    },
    device.info.limits.maxTensorBytes,
  );
  const layout = map === null ? planned : inFileOrder(planned, map);
  const upload =
    'checkpoint' in supply
      ? await checkpointUpload(device, supply, map!, layout, shards)
      : dummyUpload(device, new DummyWeights(supply.dummySeed));
  return { layout, upload };
}

/** By where the first source of each weight lies. */
function inFileOrder(layout: WeightLayout, map: WeightMap): WeightLayout {
  const first = ({ weight: { sources } }: PlacedWeight) => map.get(sources[0]?.name ?? '') ?? { file: '', start: 0 };
  const sorted = [...layout].sort(([, a], [, b]) => {
    const [one, other] = [first(a), first(b)];
    return one.file === other.file ? one.start - other.start : one.file < other.file ? -1 : 1;
  });
  return new Map(sorted);
}

async function checkpointUpload(
  device: WeightDevice,
  { checkpoint, cache }: Extract<WeightSupply, { checkpoint: Checkpoint }>,
  map: WeightMap,
  layout: WeightLayout,
  shards: ModelShards,
): Promise<PartUpload> {
  if (cache === undefined) {
    const inTurn = turns();
    return async (tensor, placed, part, rank) => {
      const rows = stackedRows(placed, part, map, { ...shards, rank });
      if (rows === null) return device.upload(tensor, constant(placed, part), rank);
      const { weight, dtype } = placed;
      if (!weight.addOne && !isQuantDType(dtype) && canUploadFiles(device, checkpoint, rows)) {
        return uploadFromFiles(device, tensor, checkpoint, rows, rank);
      }
      if (isQuantDType(dtype) && sharedRecords(weight, map, shards) === dtype) {
        const records = stackedChunks(checkpoint, rows.pieces, dtype, rows.start, rows.end);
        return inTurn(() => device.upload(tensor, records, rank));
      }
      const values = stackedChunks(checkpoint, rows.pieces, rows.dtype, rows.start, rows.end);
      const chunks = weight.addOne ? oneMore(values) : values;
      const stored = isQuantDType(dtype) ? quantized(chunks, placed, dtype, map) : chunks;
      return inTurn(() => device.upload(tensor, stored, rank));
    };
  }
  const dtypes = new Map<string, FloatDType>();
  for (const { weight, dtype } of layout.values()) {
    if (isQuantDType(dtype)) continue;
    for (const { name } of weight.sources) dtypes.set(map.get(name)!.name, dtype);
  }
  const converted = await cache.converted(checkpoint, dtypes);
  const convertedMap = new Map([...map].map(([source, { name }]) => [source, converted.tensors.get(name)!]));
  return checkpointUpload(device, { checkpoint: converted }, convertedMap, layout, shards);
}

/** Runs what it is given one after the other: what is read for the next then lies ahead, and of matrices that are unpacked one is held. */
function turns(): (run: () => Promise<void>) => Promise<void> {
  let last = Promise.resolve();
  return run => {
    const turn = last.then(run);
    last = turn.catch(() => {});
    return turn;
  };
}

/** Whether a device offers a dtype for the weights of all these ops. */
function offersWeight(device: WeightDevice, ops: ModelWeight['ops'], dtype: WeightDType): boolean {
  return ops.every(op => {
    const entry = device.info.dtypes[op];
    return !('unsupported' in entry) && (entry.weights?.includes(dtype) ?? false);
  });
}

function storedDTypes(
  weight: ModelWeight,
  weights: readonly ModelWeight[],
  map: WeightMap | null,
  config: ModelConfig,
): string[] {
  return dtypeSources(weight, weights).map(({ name }) => {
    const tensor = map?.get(name);
    return tensor?.roundsTo ?? tensor?.dtype ?? config.dtype;
  });
}

/** A checkpoint with matrices in few bits, as one of matrices. */
async function unpacked(supply: WeightSupply, config: ModelConfig): Promise<WeightSupply> {
  if (config.quantization === null || !('checkpoint' in supply)) return supply;
  const { prefixes, weights } = architectureOf(config);
  const sources = weights(config).flatMap(weight => weight.sources);
  const names = new Set(prefixes.flatMap(prefix => sources.map(({ name }) => prefix + name)));
  return { ...supply, checkpoint: await openPacked(supply.checkpoint, config.quantization, name => names.has(name)) };
}

/** The dtype of few bits that holds all of a weight as it is stored; null: there is none, or a rank has no whole groups of columns. */
function sharedRecords(weight: ModelWeight, map: WeightMap | null, shards: ModelShards): QuantDType | null {
  if (!isQuantised(weight) || map === null) return null;
  const [first, ...others] = weight.sources.map(({ name, transposed }) =>
    transposed ? undefined : map.get(name)!.records,
  );
  if (first === undefined || others.some(other => other !== first)) return null;
  const { group } = quantFormats[first];
  if (group === 0 || weight.columnSplit === undefined) return first;
  const { length, ranges } = shards[weight.columnSplit];
  return [length, ...ranges.flat()].every(column => column % group === 0) ? first : null;
}

/** Ranks with files of their own fill their parts meanwhile. */
async function uploadAll(device: Device, { layout, upload }: WeightPlan): Promise<LoadedWeights> {
  const tensors: Record<string, DeviceTensor> = {};
  const elsewhere: Promise<void>[] = [];
  const underWay: Promise<void>[] = [];
  const dispose = () => {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  };
  try {
    for (const placed of layout.values()) {
      for (const part of placed.parts) {
        const shape = [part.rows, ...placed.weight.shape.slice(1)];
        const { stage } = placed.weight;
        const spec = { name: part.tensor, dtype: placed.dtype, shape, usage: 'weight' } as const;
        const tensor = device.createTensor(stage === undefined ? spec : { ...spec, stage });
        tensors[part.tensor] = tensor;
        for (let rank = 0; rank < device.info.ranks; rank++) {
          const filling = device.fill?.(tensor, rank) ?? null;
          if (filling === null) underWay.push(upload(tensor, placed, part, rank));
          else elsewhere.push(filling);
          // The first that fails is told below.
          (filling ?? underWay.at(-1)!).catch(() => {});
          if (underWay.length === UPLOADS_AT_ONCE) await underWay.shift();
        }
      }
    }
    await Promise.all([...underWay, ...elsewhere]);
  } catch (error) {
    await Promise.allSettled(underWay);
    dispose();
    throw error;
  }
  const bytes = Object.values(tensors).reduce((sum, tensor) => sum + tensor.bytes, 0);
  return { layout, tensors, bytes, dispose };
}

/** A weight that no source gives is all ones; one that only the first rank adds is zero on the others. */
async function* constant({ weight, dtype }: PlacedWeight, part: WeightPart): AsyncGenerator<Uint8Array> {
  yield rawBytes(encodeFloats(dtype, new Float32Array(part.rows).fill(weight.sources.length === 0 ? 1 : 0)));
}

async function* quantized(
  values: AsyncIterable<Uint8Array>,
  { weight }: PlacedWeight,
  dtype: QuantDType,
  map: WeightMap,
): AsyncGenerator<Uint8Array> {
  try {
    yield* quantizedChunks(values, dtype, weight.shape[1]!);
  } catch (error) {
    if (!(error instanceof QuantizeError)) throw error;
    const { file, name } = map.get(weight.sources[0]!.name)!;
    const advice = 'Check the checkpoint, or load it without quantization.';
    const details = { file, tensor: name, found: error.message, expected: 'finite weights', advice };
    throw new ModelFormatError('WT_VALUE', 'the weight cannot be quantised', details);
  }
}

/** What a rank takes of the checkpoint; null for a weight that is constant there. */
function stackedRows(
  { weight, dtype }: PlacedWeight,
  part: WeightPart,
  map: WeightMap,
  shard: ModelShards & { readonly rank: number },
): StackedRows | null {
  const { sources, columnSplit, firstRankOnly = false } = weight;
  if (sources.length === 0 || (firstRankOnly && shard.rank > 0)) return null;
  const columns = columnSplit === undefined ? {} : { columns: cutOf(shard[columnSplit], shard.rank) };
  const pieces = sources.map(({ name, split, ...layout }) => ({
    ...layout,
    tensor: map.get(name)!,
    ...(split === undefined ? {} : { rows: cutOf(shard[split], shard.rank) }),
    ...columns,
  }));
  return { pieces, dtype: isQuantDType(dtype) ? 'f32' : dtype, start: part.firstRow, end: part.firstRow + part.rows };
}

function dummyUpload(device: WeightDevice, dummies: DummyWeights): PartUpload {
  async function* chunks({ weight, dtype }: PlacedWeight, part: WeightPart) {
    if (!isQuantDType(dtype)) yield* dummies.chunks(weight, dtype, part);
    else yield* quantizedChunks(asynchronous(dummies.chunks(weight, 'f32', part)), dtype, weight.shape[1]!);
  }
  return async (tensor, placed, part, rank) => device.upload(tensor, chunks(placed, part), rank);
}

async function* asynchronous(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
