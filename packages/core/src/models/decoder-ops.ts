import type { Activation, DType, StepSizes, TensorName } from '../contract/contract.ts';
import { ProgramBuilder } from '../program/index.ts';
import type { DecoderStyle } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import { declareCaches } from './kv-caches.ts';
import { type LoraLayer, type LoraShape, loraLayers, loraTensors } from './lora/index.ts';
import type { PlacedWeight, WeightLayout } from './model-weights.ts';
import { architectureOf } from './registry.ts';
import { ropeTables } from './rope-table.ts';
import type { RowStateShape } from './state-tensors.ts';

export interface ModelProgramOptions {
  readonly maxSizes: StepSizes;
  readonly rowState: RowStateShape;
  readonly weights: WeightLayout;
  readonly blockSize: number;
  /** KV blocks, the null block included. */
  readonly numBlocks: number;
  readonly activationDtype: DType;
  readonly kvDtype: DType;
  /** Room for adapters. Default: there are none. */
  readonly lora?: LoraShape | null;
  /** Ranks of the tensor-parallel group; `config` then has the sizes of one of them (`shardConfig`). Default 1. */
  readonly ranks?: number;
  /** Stages of the pipeline. Default 1. */
  readonly stages?: number;
}

const ADAPTERS = 'adapters';

interface LinearOptions {
  readonly x: TensorName;
  readonly out: TensorName;
  readonly residual?: TensorName;
  readonly activation?: Activation;
}

/** The steps that a decoder is made of, on weights by their names: in row parts or whole, of one rank or of several. */
export class DecoderOps {
  readonly config: ModelConfig;
  readonly options: ModelProgramOptions;
  readonly style: DecoderStyle;
  readonly builder: ProgramBuilder;
  /** More than one rank. */
  readonly parallel: boolean;
  /** Layers that adapters may change, by name. */
  readonly #lora: ReadonlyMap<string, LoraLayer>;

  constructor(config: ModelConfig, options: ModelProgramOptions) {
    this.config = config;
    this.options = options;
    this.style = architectureOf(config).style(config);
    this.parallel = (options.ranks ?? 1) > 1;
    const layers = (options.lora ?? null) === null ? [] : loraLayers(config);
    this.#lora = new Map(layers.map(layer => [layer.name, layer]));
    this.builder = new ProgramBuilder(`${config.architecture}.model`, options.maxSizes);
  }

  declareWeights(): void {
    for (const { weight, dtype, parts } of this.options.weights.values()) {
      for (const part of parts) this.builder.external(part.tensor, dtype, [part.rows, ...weight.shape.slice(1)]);
    }
    for (const { name, rope } of ropeTables(this.config)) {
      this.builder.external(name, 'f32', [this.options.rowState.maxModelLen, rope.rotaryDim]);
    }
  }

  project(name: string, x: TensorName, rows: 'tokens' | 'samples'): TensorName {
    const out = this.activation(name, this.weight(`${name}.weight`).weight.shape[0]!, rows);
    this.linear(name, { x, out });
    return out;
  }

  lookUp(name: string, ids: TensorName, offset: number, out: TensorName): void {
    for (const { tensor, firstRow } of this.weight(name).parts) {
      this.builder.add({ op: 'embed', ids, table: tensor, out, offset, firstRow });
    }
  }

  /** Each rank holds some rows of the table and looks up what it can: the sum over the ranks has every row. */
  lookUpShard(name: string, ids: TensorName, out: TensorName): void {
    const { weight, parts } = this.weight(name);
    const rowsPerRank = weight.shape[0]!;
    for (const { tensor, firstRow } of parts) {
      this.builder.add({ op: 'vocabParallelEmbed', ids, table: tensor, out, rowsPerRank, firstRow });
    }
    this.builder.add({ op: 'allReduce', x: out, out });
  }

  /** A linear layer whose columns the ranks divide: the sum of what they make, and the residual once. */
  rowParallel(name: string, { x, ...sum }: Omit<LinearOptions, 'activation'>): void {
    this.summedOverRanks(name, sum, part => this.linear(name, { x, ...part }));
  }

  /** What every rank makes a part of: its part, then the sum of all, and the residual once. */
  summedOverRanks(
    name: string,
    sum: Pick<LinearOptions, 'out' | 'residual'>,
    add: (part: Pick<LinearOptions, 'out' | 'residual'>) => void,
  ): void {
    if (!this.parallel) {
      add(sum);
      return;
    }
    const out = this.activation(`${name}.part`, this.config.hiddenSize);
    add({ out });
    this.builder.add({ op: 'allReduce', x: out, ...sum });
  }

  linear(name: string, { x, out, residual, activation = 'none' }: LinearOptions): void {
    const bias = this.options.weights.get(`${name}.bias`);
    this.weight(`${name}.weight`).parts.forEach((part, index) => {
      this.builder.add({
        op: 'linear',
        x,
        weight: part.tensor,
        ...(bias === undefined ? {} : { bias: bias.parts[index]!.tensor }),
        ...(residual === undefined ? {} : { residual }),
        out,
        activation,
        outColumn: part.firstRow,
      });
    });
    this.#adapt(name, x, out);
  }

  /** Whether the adapter of a token adds something to a linear layer. */
  isAdapted(name: string): boolean {
    return this.#lora.has(name);
  }

  /** Which adapter computes each token, for all layers. */
  prepareAdapters(state: { sequences: TensorName; rows: TensorName }): void {
    if ((this.options.lora ?? null) === null) return;
    const adapters = this.builder.temporary(ADAPTERS, 'u32', ['tokens']);
    this.builder.add({ op: 'prepareAdapters', ...state, adapters });
  }

  #adapt(name: string, x: TensorName, out: TensorName): void {
    const layer = this.#lora.get(name);
    if (layer === undefined) return;
    const { a, b, scales } = loraTensors(layer, this.options.lora!, this.options.activationDtype);
    for (const { name, dtype, shape } of [a, b, scales]) this.builder.external(name, dtype, shape);
    this.builder.add({
      op: 'loraLinear',
      x,
      adapters: ADAPTERS,
      a: a.name,
      b: b.name,
      scales: scales.name,
      hidden: this.builder.temporary(`${name}.loraHidden`, 'f32', ['tokens', a.shape[1]]),
      out,
      sliceColumns: layer.slices.map(({ columns }) => columns),
    });
  }

  norm(name: string, x: TensorName, out: TensorName): void {
    const weight = `${name}.weight`;
    const eps = this.config.normEps;
    if (this.style.norm === 'rmsNorm') {
      this.builder.add({ op: 'rmsNorm', x, weight, out, eps });
      return;
    }
    const bias = `${name}.bias`;
    this.builder.add({ op: 'layerNorm', x, weight, ...(this.options.weights.has(bias) ? { bias } : {}), out, eps });
  }

  caches(layer: number): ReturnType<typeof declareCaches> {
    const { numBlocks, blockSize, kvDtype } = this.options;
    const { numKvHeads: kvHeads, headDim } = this.config;
    return declareCaches(this.builder, layer, { numBlocks, kvHeads, blockSize, headDim, kvDtype });
  }

  activation(name: string, width: number, rows: 'tokens' | 'samples' = 'tokens'): TensorName {
    return this.builder.temporary(name, this.options.activationDtype, [rows, width]);
  }

  weight(name: string): PlacedWeight {
    return this.options.weights.get(name)!;
  }
}
