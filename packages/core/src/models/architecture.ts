import type { OpName } from '../contract/contract.ts';
import type { ModelConfig } from './config.ts';
import type { ModelWeight, SplitDimension, WeightSource } from './model-weights.ts';

/** How the decoder of an architecture is put together. Everything else is read from ModelConfig and the weights. */
export interface DecoderStyle {
  readonly norm: 'rmsNorm' | 'layerNorm';
  /** Normalise before attention and MLP (and not after the residual sum). */
  readonly preNorm: boolean;
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

/** Checkpoint tensors, and the weight of the Program that their rows make up. */
export interface Projection {
  readonly name: string;
  readonly from: readonly { readonly name: string; readonly rows: number; readonly split?: SplitDimension }[];
  readonly columns: number;
  readonly columnSplit?: SplitDimension;
  readonly bias: boolean;
  /** Default: linear alone. */
  readonly ops?: readonly OpName[];
}

/** Weight [rows, columns] and, where there is one, bias [rows] of a linear layer over one or several fused projections. */
export function projection({ name, from, columns, columnSplit, bias, ops = ['linear'] }: Projection): ModelWeight[] {
  const rows = from.reduce((sum, source) => sum + source.rows, 0);
  const sources = (kind: string, shapeOf: (rows: number) => number[]) =>
    from.map(({ name, rows, split }) => ({ name: `${name}.${kind}`, shape: shapeOf(rows), ...(split && { split }) }));
  const weight = {
    name: `${name}.weight`,
    shape: [rows, columns],
    sources: sources('weight', rows => [rows, columns]),
    ops,
    ...(columnSplit && { columnSplit }),
  };
  if (!bias) return [weight];
  const follows = { follows: weight.name, ...(columnSplit && { firstRankOnly: true as const }) };
  return [weight, { name: `${name}.bias`, shape: [rows], sources: sources('bias', rows => [rows]), ops, ...follows }];
}

/** A weight that is one tensor of the checkpoint. */
export function single(name: string, source: WeightSource, ops: readonly OpName[]): ModelWeight {
  return { name, shape: source.shape, sources: [source], ops };
}
