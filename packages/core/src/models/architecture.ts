import type { OpName } from '../contract/contract.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight, SplitDimension, WeightSource } from './model-weights.ts';

/** How the decoder of an architecture is put together. Everything else is read from ModelConfig and the weights. */
export interface DecoderStyle {
  readonly norm: 'rmsNorm' | 'layerNorm';
  /** What is normalised around attention and MLP: what they read, what they make, both, or the residual sum behind them. */
  readonly norms: 'input' | 'output' | 'both' | 'sum';
  /** MLP is down(activation(gate) * up) and not down(activation(up)). */
  readonly gatedMlp: boolean;
  readonly finalNorm: boolean;
  /** Added to a position to get its row in the learned position table; null where positions are rotary. */
  readonly positionOffset: number | null;
}

/** A supported model class: its decoder and the names that its checkpoints use. */
export interface Architecture {
  readonly name: ModelConfig['architecture'];
  style(config: ModelConfig): DecoderStyle;
  /** Weights in the order in which they are loaded; a bias comes after the weight that it follows. */
  weights(config: ModelConfig): ModelWeight[];
  /** What may stand before a source's name, depending on the class that saved the checkpoint. */
  readonly prefixes: readonly string[];
  /** Checkpoint tensors that hold no weights of this model. */
  ignores(name: string, config: ModelConfig): boolean;
}

/** The rows of one projection; `name` is without `.weight` or `.bias`. */
export type ProjectionSource = { readonly rows: number } & Omit<WeightSource, 'shape'>;

/** Checkpoint tensors, and the weight of the Program that their rows make up. */
export interface Projection {
  readonly name: string;
  readonly from: readonly ProjectionSource[];
  readonly columns: number;
  readonly columnSplit?: SplitDimension;
  readonly bias: boolean;
  /** Default: linear alone. */
  readonly ops?: readonly OpName[];
}

/** Weight [rows, columns] and, where there is one, bias [rows] of a linear layer over one or several fused projections. */
export function projection({ name, from, columns, columnSplit, bias, ops = ['linear'] }: Projection): ModelWeight[] {
  const rows = from.reduce((sum, source) => sum + source.rows, 0);
  const weight = {
    name: `${name}.weight`,
    shape: [rows, columns],
    sources: from.map(({ name, rows, ...rest }) => ({ name: `${name}.weight`, shape: [rows, columns], ...rest })),
    ops,
    ...(columnSplit && { columnSplit }),
  };
  if (!bias) return [weight];
  const sources = from.map(({ name, rows, transposed, ...rest }) => ({ name: `${name}.bias`, shape: [rows], ...rest }));
  const follows = { follows: weight.name, ...(columnSplit && { firstRankOnly: true as const }) };
  return [weight, { name: `${name}.bias`, shape: [rows], sources, ops, ...follows }];
}

/** Scale and, where `affine`, shift of a LayerNorm; a scale of ones where not. */
export function layerNormWeights(name: string, source: string, width: number, affine = true): ModelWeight[] {
  const shape = [width];
  const weight: ModelWeight = { name: `${name}.weight`, shape, sources: [], ops: ['layerNorm'] };
  if (!affine) return [weight];
  const sources = (kind: string) => [{ name: `${source}.${kind}`, shape }];
  return [
    { ...weight, sources: sources('weight') },
    { name: `${name}.bias`, shape, sources: sources('bias'), ops: ['layerNorm'], follows: weight.name },
  ];
}

/** Rows of one tensor that holds several projections one below the other. */
export function stackedSlices(
  name: string,
  parts: readonly { readonly rows: number; readonly split: SplitDimension }[],
): ProjectionSource[] {
  const tensorRows = parts.reduce((sum, { rows }) => sum + rows, 0);
  let firstRow = 0;
  return parts.map(({ rows, split }) => {
    const slice = { firstRow, blockRows: rows, stride: rows, tensorRows };
    firstRow += rows;
    return { name, rows, split, slice };
  });
}

/** A weight that is one tensor of the checkpoint. */
export function single(name: string, source: WeightSource, ops: readonly OpName[]): ModelWeight {
  return { name, shape: source.shape, sources: [source], ops };
}
