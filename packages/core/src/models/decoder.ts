import type { AttentionShape, HeadNorms, OpOf, Program, TensorName } from '../contract/contract.ts';
import type { ProgramBuilder } from '../program/index.ts';
import type { ExpertsConfig, ModelConfig, PoolingConfig } from './config.ts';
import { DecoderOps, type ModelProgramOptions } from './decoder-ops.ts';
import { architectureOf } from './registry.ts';
import { ropeTables } from './rope-table.ts';
import { stageOfLayer } from './stages.ts';
import { declareState, pooledTensor, stateTensors } from './state-tensors.ts';

/**
 * The forward pass of a model: from the row state to `logits` f32 [samples, vocabSize], or of one that makes embeddings to `pooled`
 * f32 [maxRows, width]. All activations, the residual stream
 * among them, are in `activationDtype`; ops accumulate in f32 or better. The layers run on all tokens of the step, the final norm
 * and the head only on the rows that are sampled.
 *
 * Externals besides the row state: the weights under the names of `options.weights`, the rotary tables, and `kCache.N` and `vCache.N`
 * [numBlocks, kvHeads, blockSize, headDim] of each layer, with `kScales.N` and `vScales.N` where they hold codes.
 */
export function buildModelProgram(config: ModelConfig, options: ModelProgramOptions): Program {
  return new Decoder(config, options).build();
}

/**
 * Elements of the widest temporary that a token may have, with weights in parts or whole: bounds the tokens of a step on devices
 * with small tensors.
 */
export function widestActivation(config: ModelConfig): number {
  const gated = architectureOf(config).style(config).gatedMlp;
  const mlp = config.intermediateSize * (config.experts?.perToken ?? (gated ? 2 : 1));
  return Math.max(config.hiddenSize, config.opt?.wordEmbedProjDim ?? 0, qkvWidth(config), mlp);
}

function qkvWidth(config: ModelConfig): number {
  return (config.numHeads + 2 * config.numKvHeads) * config.headDim;
}

/** Where the result of a part goes, and what is added to it. */
type Sum = { readonly residual?: TensorName; readonly out: TensorName };

class Decoder {
  readonly #config: ModelConfig;
  readonly #ops: DecoderOps;
  readonly #builder: ProgramBuilder;
  /** `samples` and `logits` only of a model that has logits. */
  readonly #state: Record<'rows' | 'blockTables' | 'tokenIds' | 'batch' | 'sequences' | 'samples' | 'logits', string>;
  readonly #attention: AttentionShape;
  readonly #stages: number;

  constructor(config: ModelConfig, options: ModelProgramOptions) {
    this.#config = config;
    this.#ops = new DecoderOps(config, options);
    this.#stages = options.stages ?? 1;
    this.#builder = this.#ops.builder;
    const tensors = stateTensors(options.rowState, config.vocabSize);
    this.#state = declareState(this.#builder, tensors, [
      'rows',
      'blockTables',
      'tokenIds',
      'batch',
      'sequences',
      ...(config.pooling === null ? (['samples', 'logits'] as const) : []),
    ]);
    this.#attention = {
      heads: config.numHeads,
      kvHeads: config.numKvHeads,
      headDim: config.headDim,
      blockSize: options.blockSize,
    };
    this.#ops.declareWeights();
  }

  build(): Program {
    const inputs = this.#prepare();
    if (this.#stages > 1) this.#builder.onStage(0);
    let hidden = this.#embed(inputs);
    for (let layer = 0; layer < this.#config.numLayers; layer++) {
      hidden = this.#layer(layer, this.#handOver(layer, hidden), inputs);
    }
    if (this.#config.pooling === null) this.#head(hidden);
    else this.#pool(hidden, this.#config.pooling);
    return this.#builder.build();
  }

  /** At the first layer of a further stage: the stage before sends it the hidden states. */
  #handOver(layer: number, hidden: TensorName): TensorName {
    const stage = stageOfLayer(layer, this.#config, this.#stages);
    if (layer === 0 || stage === stageOfLayer(layer - 1, this.#config, this.#stages)) return hidden;
    this.#builder.add({ op: 'send', x: hidden, toStage: stage });
    this.#builder.onStage(stage);
    const out = this.#ops.activation(`stages.${stage}.input`, this.#config.hiddenSize);
    this.#builder.add({ op: 'recv', out, fromStage: stage - 1 });
    return out;
  }

  #prepare() {
    const { batch, rows, tokenIds, blockTables, sequences, samples } = this.#state;
    const inputs = {
      inputIds: this.#builder.temporary('inputIds', 'u32', ['tokens']),
      positions: this.#builder.temporary('positions', 'u32', ['tokens']),
      slotMapping: this.#builder.temporary('slotMapping', 'u32', ['tokens']),
    };
    const { blockSize } = this.#ops.options;
    this.#builder.add({ op: 'prepareInputs', batch, rows, tokenIds, blockTables, sequences, blockSize, ...inputs });
    // Behind the preparation of inputs, which may be one launch with that of samples.
    const { pooling } = this.#config;
    if (pooling === null) this.#builder.add({ op: 'prepareSamples', batch, sequences, tokenIds, samples });
    this.#ops.prepareAdapters({ sequences, rows });
    return inputs;
  }

  #embed({ inputIds, positions }: { inputIds: string; positions: string }): TensorName {
    let hidden = this.#ops.activation('embedded', this.#ops.weight('embed.weight').weight.shape[1]!);
    if (this.#ops.parallel) this.#ops.lookUpShard('embed.weight', inputIds, hidden);
    else this.#ops.lookUp('embed.weight', inputIds, 0, hidden);
    const { embeddingScale } = this.#config;
    if (embeddingScale !== 1) {
      this.#builder.add({ op: 'scale', x: hidden, out: hidden, factor: embeddingScale, softCap: 0 });
    }
    if (this.#ops.options.weights.has('projectIn.weight')) hidden = this.#ops.project('projectIn', hidden, 'tokens');
    const { positionOffset } = this.#ops.style;
    if (positionOffset === null) return hidden;
    const located = this.#ops.activation('positionEmbeddings', this.#config.hiddenSize);
    this.#ops.lookUp('positions.weight', positions, positionOffset, located);
    const sum = this.#ops.activation('embeddedAtPositions', this.#config.hiddenSize);
    this.#builder.add({ op: 'add', a: hidden, b: located, out: sum });
    return sum;
  }

  #layer(layer: number, hidden: TensorName, inputs: { positions: string; slotMapping: string }): TensorName {
    const name = `layers.${layer}`;
    const attended = this.#part(`${name}.attention`, hidden, hidden, (x, sum) => {
      const mixed = this.#attend(layer, x, inputs);
      this.#ops.rowParallel(`${name}.attentionOut`, { x: mixed, ...sum });
    });
    const x = this.#config.parallelResidual ? hidden : attended;
    return this.#part(`${name}.mlp`, x, attended, (x, sum) => {
      if (this.#config.experts !== null) this.#mixture(name, x, sum, this.#config.experts);
      else this.#ops.rowParallel(`${name}.mlpDown`, { x: this.#mlp(name, x), ...sum });
    });
  }

  /**
   * A part of a layer with its norms: residual + part(norm(x)), residual + norm(part(x)), both of these norms, or
   * norm(residual + part(x)).
   */
  #part(name: string, x: TensorName, residual: TensorName, body: (x: string, sum: Sum) => void): TensorName {
    const { norms } = this.#ops.style;
    const input = norms === 'input' || norms === 'both' ? this.#normed(`${name}Norm`, x) : x;
    const sum = this.#ops.activation(`${name}Sum`, this.#config.hiddenSize);
    if (norms === 'output' || norms === 'both') {
      const out = this.#ops.activation(`${name}Out`, this.#config.hiddenSize);
      body(input, { out });
      this.#builder.add({ op: 'add', a: residual, b: this.#normed(`${name}OutNorm`, out), out: sum });
      return sum;
    }
    body(input, { residual, out: sum });
    return norms === 'sum' ? this.#normed(`${name}Norm`, sum) : sum;
  }

  #normed(name: string, x: TensorName, rows: 'tokens' | 'samples' = 'tokens'): TensorName {
    const out = this.#ops.activation(name, this.#config.hiddenSize, rows);
    this.#ops.norm(name, x, out);
    return out;
  }

  #attend(layer: number, x: TensorName, inputs: { positions: string; slotMapping: string }): TensorName {
    const { positions, slotMapping } = inputs;
    const { heads, headDim } = this.#attention;
    const qkv = this.#ops.activation(`layers.${layer}.qkv`, qkvWidth(this.#config));
    this.#ops.linear(`layers.${layer}.qkv`, { x, out: qkv });
    const caches = this.#ops.caches(layer);
    const write = { qkv, slotMapping, ...caches, ...this.#attention };
    const { layers } = this.#config;
    const { window, positions: kind } = layers?.[layer] ?? { window: 0, positions: 'global' };
    this.#normAllHeads(layer, qkv);
    const table = ropeTables(this.#config).find(table => table.kind === kind);
    if (table === undefined) this.#builder.add({ op: 'kvWrite', ...write });
    else {
      const rotation = { positions, table: table.name, rotaryDim: table.rope.rotaryDim, interleaved: false };
      this.#builder.add({ op: 'ropeKvWrite', ...write, ...rotation, ...this.#headNorms(layer) });
    }
    const out = this.#ops.activation(`layers.${layer}.attention`, heads * headDim);
    const { sequences, blockTables } = this.#state;
    const { attentionScale, attentionSoftCap: softCap } = this.#config;
    const shape = { ...this.#attention, scale: attentionScale ?? headDim ** -0.5, window, softCap };
    this.#builder.add({ op: 'pagedAttention', qkv, ...caches, sequences, blockTables, out, ...shape });
    return out;
  }

  #headNorms(layer: number): HeadNorms {
    if (this.#config.qkNorm !== 'heads') return {};
    const name = `layers.${layer}`;
    return { qNorm: `${name}.qNorm.weight`, kNorm: `${name}.kNorm.weight`, normEps: this.#config.normEps };
  }

  #normAllHeads(layer: number, qkv: TensorName): void {
    const { qkNorm, normEps: eps, numHeads, headDim } = this.#config;
    if (qkNorm !== 'all') return;
    const name = `layers.${layer}`;
    this.#builder.add({ op: 'normColumns', x: qkv, weight: `${name}.qNorm.weight`, eps, column: 0 });
    this.#builder.add({ op: 'normColumns', x: qkv, weight: `${name}.kNorm.weight`, eps, column: numHeads * headDim });
  }

  /** The experts of each token, side by side; then their sum, of all row parts of the weights in order. */
  #mixture(name: string, x: TensorName, sum: Sum, { count, perToken, normalize }: ExpertsConfig): void {
    const logits = this.#builder.temporary(`${name}.routerLogits`, 'f32', ['tokens', count]);
    this.#ops.linear(`${name}.router`, { x, out: logits });
    const experts = this.#builder.temporary(`${name}.experts`, 'u32', ['tokens', perToken]);
    const shares = this.#builder.temporary(`${name}.expertShares`, 'f32', ['tokens', perToken]);
    this.#builder.add({ op: 'moeRoute', logits, experts, shares, normalize });
    const { intermediateSize, hiddenSize, activation } = this.#config;
    const gated = this.#ops.activation(`${name}.expertsGated`, perToken * intermediateSize);
    this.#grouped(`${name}.expertsUp`, 2 * intermediateSize, { x, experts, out: gated, activation });
    this.#ops.summedOverRanks(`${name}.expertsDown`, sum, ({ out, residual }) => {
      const inputs = { x: gated, experts, shares, out, activation: 'none' } as const;
      this.#grouped(`${name}.expertsDown`, hiddenSize, inputs, residual);
    });
  }

  /** Of each row part one op; a sum goes on from that of the parts before. */
  #grouped(
    name: string,
    rowsPerExpert: number,
    inputs: Omit<OpOf<'groupedLinear'>, 'op' | 'weight' | 'firstExpert' | 'residual'>,
    residual?: TensorName,
  ): void {
    this.#ops.weight(`${name}.weight`).parts.forEach(({ tensor, firstRow }, index) => {
      const before = index > 0 && inputs.shares !== undefined ? inputs.out : residual;
      const optional = before === undefined ? {} : { residual: before };
      const firstExpert = firstRow / rowsPerExpert;
      this.#builder.add({ op: 'groupedLinear', ...inputs, weight: tensor, ...optional, firstExpert });
    });
  }

  #mlp(name: string, x: TensorName): TensorName {
    const { intermediateSize, activation } = this.#config;
    if (this.#ops.style.gatedMlp) return this.#gatedMlp(name, x);
    const up = this.#ops.activation(`${name}.mlpUp`, intermediateSize);
    this.#ops.linear(`${name}.mlpUp`, { x, out: up, activation });
    return up;
  }

  /** One op, unless an adapter comes in between, or the device's limits have split the weight: a part may have gates without their ups. */
  #gatedMlp(name: string, x: TensorName): TensorName {
    const { intermediateSize, activation } = this.#config;
    const out = this.#ops.activation(`${name}.mlpGated`, intermediateSize);
    const weight = `${name}.mlpUp.weight`;
    if (this.#ops.weight(weight).parts.length === 1 && !this.#ops.isAdapted(`${name}.mlpUp`)) {
      const bias = `${name}.mlpUp.bias`;
      const optional = this.#ops.options.weights.has(bias) ? { bias } : {};
      this.#builder.add({ op: 'gatedLinear', x, weight, ...optional, out, activation });
      return out;
    }
    const gateUp = this.#ops.activation(`${name}.mlpUp`, 2 * intermediateSize);
    this.#ops.linear(`${name}.mlpUp`, { x, out: gateUp });
    this.#builder.add({ op: 'gatedActivation', x: gateUp, out, activation });
    return out;
  }

  /** One vector of each sequence, of its hidden states behind the final norm. */
  #pool(hidden: TensorName, { type }: PoolingConfig): void {
    let x = this.#ops.style.finalNorm ? this.#normed('finalNorm', hidden) : hidden;
    if (this.#ops.options.weights.has('projectOut.weight')) x = this.#ops.project('projectOut', x, 'tokens');
    const { name, dtype, shape } = pooledTensor(this.#ops.options.rowState, this.#config);
    const out = this.#builder.external(name, dtype, shape);
    this.#builder.add({ op: 'pool', x, sequences: this.#state.sequences, out, sum: type === 'mean' });
  }

  #head(hidden: TensorName): void {
    const { samples, logits } = this.#state;
    const { hiddenSize } = this.#config;
    let x = this.#ops.activation('sampledHidden', hiddenSize, 'samples');
    this.#builder.add({ op: 'gatherRows', x: hidden, samples, out: x });
    if (this.#ops.style.finalNorm) x = this.#normed('finalNorm', x, 'samples');
    if (this.#ops.options.weights.has('projectOut.weight')) x = this.#ops.project('projectOut', x, 'samples');
    this.#logits(x);
    const { logitSoftCap: softCap } = this.#config;
    if (softCap > 0) this.#builder.add({ op: 'scale', x: logits, out: logits, factor: 1, softCap });
  }

  #logits(x: TensorName): void {
    const { logits } = this.#state;
    const head = this.#ops.options.weights.has('head.weight') ? 'head' : 'embed';
    if (!this.#ops.parallel) {
      this.#ops.linear(head, { x, out: logits });
      return;
    }
    const shard = this.#builder.temporary('logitsShard', 'f32', [
      'samples',
      this.#ops.weight(`${head}.weight`).weight.shape[0]!,
    ]);
    this.#ops.linear(head, { x, out: shard });
    this.#builder.add({ op: 'allGather', x: shard, out: logits });
  }
}
