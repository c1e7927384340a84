import type {
  Activation,
  AttentionShape,
  DType,
  HeadNorms,
  Program,
  StepSizes,
  TensorName,
} from '../contract/contract.ts';
import { ProgramBuilder } from '../program/index.ts';
import type { DecoderStyle } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import type { PlacedWeight, WeightLayout } from './model-weights.ts';
import { architectureOf } from './registry.ts';
import { stageOfLayer } from './stages.ts';
import { declareState, type RowStateShape, stateTensors } from './state-tensors.ts';

export interface ModelProgramOptions {
  readonly maxSizes: StepSizes;
  readonly rowState: RowStateShape;
  readonly weights: WeightLayout;
  readonly blockSize: number;
  /** KV blocks, the null block included. */
  readonly numBlocks: number;
  readonly activationDtype: DType;
  readonly kvDtype: DType;
  /** Ranks of the tensor-parallel group; `config` then has the sizes of one of them (`shardConfig`). Default 1. */
  readonly ranks?: number;
  /** Stages of the pipeline. Default 1. */
  readonly stages?: number;
}

/**
 * The forward pass of a model: from the row state to `logits` f32 [samples, vocabSize]. All activations, the residual stream
 * among them, are in `activationDtype`; ops accumulate in f32 or better. The layers run on all tokens of the step, the final norm
 * and the head only on the rows that are sampled.
 *
 * Externals besides the row state: the weights under the names of `options.weights`, `ropeTable` f32 [maxModelLen, rotaryDim]
 * (rotary models), and `kCache.N` and `vCache.N` [numBlocks, kvHeads, blockSize, headDim] of each layer.
 */
export function buildModelProgram(config: ModelConfig, options: ModelProgramOptions): Program {
  return new Decoder(config, options).build();
}

/** Name of the K or V cache of a layer. */
export function cacheName(kind: 'k' | 'v', layer: number): TensorName {
  return `${kind}Cache.${layer}`;
}

/**
 * Elements of the widest temporary that a token may have, with weights in parts or whole: bounds the tokens of a step on devices
 * with small tensors.
 */
export function widestActivation(config: ModelConfig): number {
  const mlp = architectureOf(config).style(config).gatedMlp ? 2 * config.intermediateSize : config.intermediateSize;
  return Math.max(config.hiddenSize, config.opt?.wordEmbedProjDim ?? 0, qkvWidth(config), mlp);
}

function qkvWidth(config: ModelConfig): number {
  return (config.numHeads + 2 * config.numKvHeads) * config.headDim;
}

interface LinearOptions {
  readonly x: TensorName;
  readonly out: TensorName;
  readonly residual?: TensorName;
  readonly activation?: Activation;
}

class Decoder {
  readonly #config: ModelConfig;
  readonly #options: ModelProgramOptions;
  readonly #style: DecoderStyle;
  readonly #builder: ProgramBuilder;
  readonly #state: Record<'rows' | 'blockTables' | 'tokenIds' | 'batch' | 'sequences' | 'samples' | 'logits', string>;
  readonly #attention: AttentionShape;
  readonly #parallel: boolean;
  readonly #stages: number;

  constructor(config: ModelConfig, options: ModelProgramOptions) {
    this.#config = config;
    this.#options = options;
    this.#style = architectureOf(config).style(config);
    this.#parallel = (options.ranks ?? 1) > 1;
    this.#stages = options.stages ?? 1;
    this.#builder = new ProgramBuilder(`${config.architecture}.model`, options.maxSizes);
    const tensors = stateTensors(options.rowState, config.vocabSize);
    this.#state = declareState(this.#builder, tensors, [
      'rows',
      'blockTables',
      'tokenIds',
      'batch',
      'sequences',
      'samples',
      'logits',
    ]);
    this.#attention = {
      heads: config.numHeads,
      kvHeads: config.numKvHeads,
      headDim: config.headDim,
      blockSize: options.blockSize,
    };
    this.#declareWeights();
  }

  build(): Program {
    const inputs = this.#prepare();
    if (this.#stages > 1) this.#builder.onStage(0);
    let hidden = this.#embed(inputs);
    for (let layer = 0; layer < this.#config.numLayers; layer++) {
      hidden = this.#layer(layer, this.#handOver(layer, hidden), inputs);
    }
    this.#head(hidden);
    return this.#builder.build();
  }

  /** At the first layer of a further stage: the stage before sends it the hidden states. */
  #handOver(layer: number, hidden: TensorName): TensorName {
    const stage = stageOfLayer(layer, this.#config, this.#stages);
    if (layer === 0 || stage === stageOfLayer(layer - 1, this.#config, this.#stages)) return hidden;
    this.#builder.add({ op: 'send', x: hidden, toStage: stage });
    this.#builder.onStage(stage);
    const out = this.#activation(`stages.${stage}.input`, this.#config.hiddenSize);
    this.#builder.add({ op: 'recv', out, fromStage: stage - 1 });
    return out;
  }

  #declareWeights(): void {
    for (const { weight, dtype, parts } of this.#options.weights.values()) {
      for (const part of parts) this.#builder.external(part.tensor, dtype, [part.rows, ...weight.shape.slice(1)]);
    }
    const { rope } = this.#config;
    if (rope === null) return;
    this.#builder.external('ropeTable', 'f32', [this.#options.rowState.maxModelLen, rope.rotaryDim]);
  }

  #prepare() {
    const { batch, rows, tokenIds, blockTables, sequences, samples } = this.#state;
    const inputs = {
      inputIds: this.#builder.temporary('inputIds', 'u32', ['tokens']),
      positions: this.#builder.temporary('positions', 'u32', ['tokens']),
      slotMapping: this.#builder.temporary('slotMapping', 'u32', ['tokens']),
    };
    const { blockSize } = this.#options;
    this.#builder.add({ op: 'prepareInputs', batch, rows, tokenIds, blockTables, sequences, blockSize, ...inputs });
    this.#builder.add({ op: 'prepareSamples', batch, sequences, tokenIds, samples });
    return inputs;
  }

  #embed({ inputIds, positions }: { inputIds: string; positions: string }): TensorName {
    let hidden = this.#activation('embedded', this.#weight('embed.weight').weight.shape[1]!);
    if (this.#parallel) this.#lookUpShard('embed.weight', inputIds, hidden);
    else this.#lookUp('embed.weight', inputIds, 0, hidden);
    if (this.#options.weights.has('projectIn.weight')) hidden = this.#project('projectIn', hidden, 'tokens');
    const { positionOffset } = this.#style;
    if (positionOffset === null) return hidden;
    const located = this.#activation('positionEmbeddings', this.#config.hiddenSize);
    this.#lookUp('positions.weight', positions, positionOffset, located);
    const sum = this.#activation('embeddedAtPositions', this.#config.hiddenSize);
    this.#builder.add({ op: 'add', a: hidden, b: located, out: sum });
    return sum;
  }

  #layer(layer: number, hidden: TensorName, inputs: { positions: string; slotMapping: string }): TensorName {
    const name = `layers.${layer}`;
    const attended = this.#part(`${name}.attention`, hidden, (x, residual, out) => {
      const mixed = this.#attend(layer, x, inputs);
      this.#rowParallel(`${name}.attentionOut`, { x: mixed, residual, out });
    });
    return this.#part(`${name}.mlp`, attended, (x, residual, out) => {
      this.#rowParallel(`${name}.mlpDown`, { x: this.#mlp(name, x), residual, out });
    });
  }

  /** A part of a layer with its norm and residual sum: sum = x + part(norm(x)), or norm(x + part(x)). */
  #part(name: string, x: TensorName, body: (x: string, residual: string, out: string) => void): TensorName {
    const { hiddenSize } = this.#config;
    const normed = this.#activation(`${name}Norm`, hiddenSize);
    const sum = this.#activation(`${name}Sum`, hiddenSize);
    if (this.#style.preNorm) {
      this.#norm(`${name}Norm`, x, normed);
      body(normed, x, sum);
      return sum;
    }
    body(x, x, sum);
    this.#norm(`${name}Norm`, sum, normed);
    return normed;
  }

  #attend(layer: number, x: TensorName, inputs: { positions: string; slotMapping: string }): TensorName {
    const { positions, slotMapping } = inputs;
    const { heads, headDim } = this.#attention;
    const qkv = this.#activation(`layers.${layer}.qkv`, qkvWidth(this.#config));
    this.#linear(`layers.${layer}.qkv`, { x, out: qkv });
    const caches = { kCache: this.#cache('k', layer), vCache: this.#cache('v', layer) };
    const write = { qkv, slotMapping, ...caches, ...this.#attention };
    const { rope } = this.#config;
    if (rope === null) this.#builder.add({ op: 'kvWrite', ...write });
    else {
      const rotation = { positions, table: 'ropeTable', rotaryDim: rope.rotaryDim, interleaved: false };
      this.#builder.add({ op: 'ropeKvWrite', ...write, ...rotation, ...this.#headNorms(layer) });
    }
    const out = this.#activation(`layers.${layer}.attention`, heads * headDim);
    const { sequences, blockTables } = this.#state;
    const shape = { ...this.#attention, scale: headDim ** -0.5, window: 0, softCap: 0 };
    this.#builder.add({ op: 'pagedAttention', qkv, ...caches, sequences, blockTables, out, ...shape });
    return out;
  }

  #headNorms(layer: number): HeadNorms {
    if (!this.#config.qkNorm) return {};
    const name = `layers.${layer}`;
    return { qNorm: `${name}.qNorm.weight`, kNorm: `${name}.kNorm.weight`, normEps: this.#config.normEps };
  }

  #mlp(name: string, x: TensorName): TensorName {
    const { intermediateSize, activation } = this.#config;
    if (this.#style.gatedMlp) return this.#gatedMlp(name, x);
    const up = this.#activation(`${name}.mlpUp`, intermediateSize);
    this.#linear(`${name}.mlpUp`, { x, out: up, activation });
    return up;
  }

  /** One op, unless the device's limits have split the weight: a part may have gates without their ups. */
  #gatedMlp(name: string, x: TensorName): TensorName {
    const { intermediateSize, activation } = this.#config;
    const out = this.#activation(`${name}.mlpGated`, intermediateSize);
    const weight = `${name}.mlpUp.weight`;
    if (this.#weight(weight).parts.length === 1) {
      const bias = `${name}.mlpUp.bias`;
      const optional = this.#options.weights.has(bias) ? { bias } : {};
      this.#builder.add({ op: 'gatedLinear', x, weight, ...optional, out, activation });
      return out;
    }
    const gateUp = this.#activation(`${name}.mlpUp`, 2 * intermediateSize);
    this.#linear(`${name}.mlpUp`, { x, out: gateUp });
    this.#builder.add({ op: 'gatedActivation', x: gateUp, out, activation });
    return out;
  }

  #head(hidden: TensorName): void {
    const { samples, logits } = this.#state;
    const { hiddenSize } = this.#config;
    let x = this.#activation('sampledHidden', hiddenSize, 'samples');
    this.#builder.add({ op: 'gatherRows', x: hidden, samples, out: x });
    if (this.#style.finalNorm) {
      const normed = this.#activation('finalNorm', hiddenSize, 'samples');
      this.#norm('finalNorm', x, normed);
      x = normed;
    }
    if (this.#options.weights.has('projectOut.weight')) x = this.#project('projectOut', x, 'samples');
    const head = this.#options.weights.has('head.weight') ? 'head' : 'embed';
    if (!this.#parallel) {
      this.#linear(head, { x, out: logits });
      return;
    }
    const shard = this.#builder.temporary('logitsShard', 'f32', [
      'samples',
      this.#weight(`${head}.weight`).weight.shape[0]!,
    ]);
    this.#linear(head, { x, out: shard });
    this.#builder.add({ op: 'allGather', x: shard, out: logits });
  }

  #project(name: string, x: TensorName, rows: 'tokens' | 'samples'): TensorName {
    const out = this.#activation(name, this.#weight(`${name}.weight`).weight.shape[0]!, rows);
    this.#linear(name, { x, out });
    return out;
  }

  #lookUp(name: string, ids: TensorName, offset: number, out: TensorName): void {
    for (const { tensor, firstRow } of this.#weight(name).parts) {
      this.#builder.add({ op: 'embed', ids, table: tensor, out, offset, firstRow });
    }
  }

  /** Each rank holds some rows of the table and looks up what it can: the sum over the ranks has every row. */
  #lookUpShard(name: string, ids: TensorName, out: TensorName): void {
    const { weight, parts } = this.#weight(name);
    const rowsPerRank = weight.shape[0]!;
    for (const { tensor, firstRow } of parts) {
      this.#builder.add({ op: 'vocabParallelEmbed', ids, table: tensor, out, rowsPerRank, firstRow });
    }
    this.#builder.add({ op: 'allReduce', x: out, out });
  }

  /** A linear layer whose columns the ranks divide: the sum of what they make, and the residual once. */
  #rowParallel(name: string, { x, residual, out }: Required<Omit<LinearOptions, 'activation'>>): void {
    if (!this.#parallel) {
      this.#linear(name, { x, residual, out });
      return;
    }
    const part = this.#activation(`${name}.part`, this.#config.hiddenSize);
    this.#linear(name, { x, out: part });
    this.#builder.add({ op: 'allReduce', x: part, residual, out });
  }

  #linear(name: string, { x, out, residual, activation = 'none' }: LinearOptions): void {
    const bias = this.#options.weights.get(`${name}.bias`);
    this.#weight(`${name}.weight`).parts.forEach((part, index) => {
      this.#builder.add({
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
  }

  #norm(name: string, x: TensorName, out: TensorName): void {
    const weight = `${name}.weight`;
    const eps = this.#config.normEps;
    if (this.#style.norm === 'rmsNorm') {
      this.#builder.add({ op: 'rmsNorm', x, weight, out, eps });
      return;
    }
    const bias = `${name}.bias`;
    this.#builder.add({ op: 'layerNorm', x, weight, ...(this.#options.weights.has(bias) ? { bias } : {}), out, eps });
  }

  #cache(kind: 'k' | 'v', layer: number): TensorName {
    const { numBlocks, blockSize, kvDtype } = this.#options;
    const { numKvHeads, headDim } = this.#config;
    return this.#builder.external(cacheName(kind, layer), kvDtype, [numBlocks, numKvHeads, blockSize, headDim]);
  }

  #activation(name: string, width: number, rows: 'tokens' | 'samples' = 'tokens'): TensorName {
    return this.#builder.temporary(name, this.#options.activationDtype, [rows, width]);
  }

  #weight(name: string): PlacedWeight {
    return this.#options.weights.get(name)!;
  }
}
