import type { DType } from '../../contract/contract.ts';
import type { ModelConfig } from '../config.ts';
import type { ModelWeight, RowSlice, SplitDimension } from '../model-weights.ts';
import { architectureOf } from '../registry.ts';

/** Room for adapters on a device. */
export interface LoraShape {
  /** Adapters that it holds at once. */
  readonly slots: number;
  /** Every adapter takes as much room as one of this rank. */
  readonly rank: number;
}

/** Columns of a linear layer's output that are one module of the checkpoint, or rows of one. */
export interface LoraSlice {
  /** Name of the module, as in the checkpoint without the prefix of the model class. */
  readonly module: string;
  readonly columns: number;
  /** Which outputs of the module the columns are. Absent: all. */
  readonly slice?: RowSlice;
  /** What the columns are, where ranks divide them. */
  readonly split?: SplitDimension;
}

/** A linear layer of the decoder that adapters may change. */
export interface LoraLayer {
  /** Of its weight in the Program, without `.weight`. */
  readonly name: string;
  /** Width of its input. */
  readonly depth: number;
  readonly slices: readonly LoraSlice[];
  /** What its input is, where ranks divide that: what they make of their parts is summed. */
  readonly depthSplit?: SplitDimension;
}

/**
 * The linear layers that adapters may change: those of attention, and of gated MLPs. Embeddings, the head, routers and experts are
 * none of them, nor is the first layer of an MLP without gates, which is computed together with its activation. With the
 * configuration of one rank they are as that rank holds them.
 */
export function loraLayers(config: ModelConfig): LoraLayer[] {
  const architecture = architectureOf(config);
  const { gatedMlp } = architecture.style(config);
  const names = /^layers\.\d+\.(qkv|attentionOut|mlpUp|mlpDown)\.weight$/;
  const adaptable = ({ name, groups }: ModelWeight) =>
    names.test(name) && groups === undefined && (gatedMlp || !name.endsWith('.mlpUp.weight'));
  return architecture.weights(config).filter(adaptable).map(layerOf);
}

function layerOf({ name, shape, sources, columnSplit }: ModelWeight): LoraLayer {
  return {
    name: name.slice(0, -'.weight'.length),
    depth: shape[1]!,
    slices: sources.map(({ name: source, shape: [columns], slice, split }) => ({
      module: source.slice(0, -'.weight'.length),
      columns: columns!,
      ...(slice && { slice }),
      ...(split && { split }),
    })),
    ...(columnSplit && { depthSplit: columnSplit }),
  };
}

export function layerColumns({ slices }: LoraLayer): number {
  return slices.reduce((sum, { columns }) => sum + columns, 0);
}

/** The device tensors of all adapters of a layer: see loraLinear of the contract. */
export function loraTensors(layer: LoraLayer, { slots, rank }: LoraShape, dtype: DType) {
  const { name, depth, slices } = layer;
  return {
    a: { name: `${name}.loraA`, dtype, shape: [slots, slices.length * rank, depth] },
    b: { name: `${name}.loraB`, dtype, shape: [slots, layerColumns(layer), rank] },
    scales: { name: `${name}.loraScales`, dtype: 'f32', shape: [slots, slices.length] },
  } as const;
}
