import type { PackedWeights } from './packed/packed-weights.ts';

/** Names in `architectures` of a config.json. */
export type ArchitectureName =
  | 'GPT2LMHeadModel'
  | 'GPTNeoXForCausalLM'
  | 'Gemma2ForCausalLM'
  | 'Gemma3ForCausalLM'
  | 'GemmaForCausalLM'
  | 'LlamaForCausalLM'
  | 'MistralForCausalLM'
  | 'MixtralForCausalLM'
  | 'OPTForCausalLM'
  | 'Olmo2ForCausalLM'
  | 'Phi3ForCausalLM'
  | 'Qwen2ForCausalLM'
  | 'Qwen3ForCausalLM'
  | 'Qwen3MoeForCausalLM'
  | 'SmolLM3ForCausalLM';

/** What core/models needs to know about a model: config.json, checked and resolved. Sizes are elements. */
export interface ModelConfig {
  readonly architecture: ArchitectureName;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  /** Rows of the embedding table: the width of the logits. */
  readonly vocabSize: number;
  readonly maxPositionEmbeddings: number;
  readonly normEps: number;
  readonly activation: 'relu' | 'silu' | 'gelu' | 'geluTanh';
  /** Of the projections to queries, keys and values. */
  readonly attentionBias: boolean;
  /** Of the projection behind attention. */
  readonly attentionOutBias: boolean;
  /** RMS norms of queries and keys before they are rotated: of each head, or of all heads of a token together. */
  readonly qkNorm: 'none' | 'heads' | 'all';
  readonly mlpBias: boolean;
  readonly tieWordEmbeddings: boolean;
  readonly rope: RopeConfig | null;
  /** Of each layer; null where all layers see all positions and rotate by `rope`. */
  readonly layers: readonly LayerConfig[] | null;
  /** Of the layers that are `local`. */
  readonly localRope: RopeConfig | null;
  /** Scores are multiplied by it; null: by headDim^-1/2. */
  readonly attentionScale: number | null;
  /** Scores become cap tanh(score / cap); 0: they stay. */
  readonly attentionSoftCap: number;
  /** The same of logits. */
  readonly logitSoftCap: number;
  /** Embeddings are multiplied by it. */
  readonly embeddingScale: number;
  /** Norms multiply by 1 + weight. */
  readonly normsAddOne: boolean;
  /** Attention and MLP of a layer both read its input, and are added to it together. */
  readonly parallelResidual: boolean;
  /** The MLP of each layer is a mixture, of experts of `intermediateSize`; null: one MLP. */
  readonly experts: ExpertsConfig | null;
  /** OPT only, else null. */
  readonly opt: OptConfig | null;
  /** How hidden states become one vector per text, in place of logits; null: the model generates. */
  readonly pooling: PoolingConfig | null;
  /** How the checkpoint has its matrices in few bits; null: all weights are floats. */
  readonly quantization: PackedWeights | null;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | null;
  /** `torch_dtype`: how the checkpoint was stored. */
  readonly dtype: 'f32' | 'f16' | 'bf16';
}

/** A mixture of experts (Shazeer et al. 2017). */
export interface ExpertsConfig {
  readonly count: number;
  /** Experts that compute each token. */
  readonly perToken: number;
  /** Their shares of the sum add up to 1; else they are those among all experts. */
  readonly normalize: boolean;
}

/** What an embedding is made of. */
export interface PoolingConfig {
  /** The hidden state of the last token, or the mean over all tokens, behind the final norm. */
  readonly type: 'last' | 'mean';
  /** Embeddings have length 1, unless a request says otherwise. */
  readonly normalize: boolean;
  /** The only lengths to which embeddings may be cut; null: any up to the width of the model. */
  readonly dimensions: readonly number[] | null;
}

export interface LayerConfig {
  /** The last positions that a query sees; 0: all. */
  readonly window: number;
  /** What turns queries and keys: `rope`, `localRope`, or nothing. */
  readonly positions: 'global' | 'local' | 'none';
}

export interface RopeConfig {
  readonly theta: number;
  readonly rotaryDim: number;
  readonly scaling: RopeScaling;
}
export type RopeScaling =
  | { readonly type: 'none' }
  | { readonly type: 'linear'; readonly factor: number }
  | { readonly type: 'dynamic'; readonly factor: number; readonly originalMaxPositions: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    }
  | YarnScaling
  | LongRopeScaling;

/** Ding et al. 2024, as in Phi-3. */
export interface LongRopeScaling {
  readonly type: 'longrope';
  /** Each pair's frequency is divided by its factor: the short ones up to the original length, the long ones beyond. */
  readonly shortFactors: readonly number[];
  readonly longFactors: readonly number[];
  readonly originalMaxPositions: number;
  /** Cosines and sines are multiplied by it. */
  readonly attentionFactor: number;
}

/** Peng et al. 2023. */
export interface YarnScaling {
  readonly type: 'yarn';
  readonly factor: number;
  readonly originalMaxPositions: number;
  /** Turns over the original length: pairs with more than betaFast keep their frequency, pairs with fewer than betaSlow are stretched. */
  readonly betaFast: number;
  readonly betaSlow: number;
  /** Whether the pairs at which these begin and end are rounded, outwards. */
  readonly truncate: boolean;
  /** Cosines and sines are multiplied by it: scores by its square. */
  readonly attentionFactor: number;
}

export interface OptConfig {
  readonly doLayerNormBefore: boolean;
  /** Different from hiddenSize when the model projects in and out. */
  readonly wordEmbedProjDim: number;
  /** Positions start at this row of the table: 2. */
  readonly positionOffset: number;
  /** Final layer norm present: do_layer_norm_before and not _remove_final_layer_norm. */
  readonly finalLayerNorm: boolean;
  readonly layerNormAffine: boolean;
}

/** generation_config.json: defaults of sampling, each null when the file does not set it. */
export interface GenerationConfig {
  readonly eosTokenIds: readonly number[] | null;
  readonly temperature: number | null;
  readonly topP: number | null;
  readonly topK: number | null;
  readonly minP: number | null;
  readonly repetitionPenalty: number | null;
  readonly maxNewTokens: number | null;
}
