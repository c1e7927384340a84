import type { TypedArray } from '../../contract/contract.ts';
import type { ModelShards, Split } from '../shards.ts';
import { type LoraLayer, layerColumns } from './lora-layers.ts';

/** One layer of an adapter, see loraLinear of the contract: a [slices rank, depth], b [columns, rank], scales [slices]. */
export interface AdapterLayer {
  readonly a: TypedArray;
  readonly b: TypedArray;
  readonly scales: Float32Array;
}

/**
 * What each rank holds of a layer, as vLLM divides it: where the ranks divide the outputs, all of A and the rows of B for their own;
 * where they divide the input, their columns of A and all of B, so that their products are parts of the sum that follows the layer.
 */
export function shardLayer(layer: LoraLayer, whole: AdapterLayer, shards: ModelShards): readonly AdapterLayer[] {
  if (shards.ranks === 1) return [whole];
  return Array.from({ length: shards.ranks }, (_, rank) => ({
    a: layer.depthSplit === undefined ? whole.a : columnsOf(whole.a, layer.depth, shards[layer.depthSplit], rank),
    b: rowsOf(whole.b, layer, shards, rank),
    scales: whole.scales,
  }));
}

function columnsOf(values: TypedArray, width: number, { length, ranges }: Split, rank: number): TypedArray {
  const [start, end] = ranges[rank]!;
  const rows = values.length / width;
  const out = zeros(values, rows * length);
  for (let row = 0; row < rows; row++) out.set(values.subarray(row * width + start, row * width + end), row * length);
  return out;
}

function rowsOf(values: TypedArray, layer: LoraLayer, shards: ModelShards, rank: number): TypedArray {
  const cuts = layer.slices.map(({ columns, split }) => {
    if (split === undefined) return { columns, start: 0, end: columns, length: columns };
    const [start, end] = shards[split].ranges[rank]!;
    return { columns, start, end, length: shards[split].length };
  });
  const width = values.length / layerColumns(layer);
  const out = zeros(values, cuts.reduce((sum, { length }) => sum + length, 0) * width);
  let [from, to] = [0, 0];
  for (const { columns, start, end, length } of cuts) {
    out.set(values.subarray((from + start) * width, (from + end) * width), to * width);
    from += columns;
    to += length;
  }
  return out;
}

/** As many elements of the same kind. */
function zeros(like: TypedArray, length: number): TypedArray {
  return like instanceof Float32Array ? new Float32Array(length) : new Uint16Array(length);
}
