import { ModelFormatError } from '../errors.ts';
import { type JsonCodes, readJsonObject } from '../weights/json-file.ts';
import { showJson } from '../weights/json-tree.ts';
import type { ModelSource } from '../weights/types.ts';
import type { GenerationConfig, ModelConfig } from './config.ts';
import { ConfigFields } from './config-fields.ts';
import { parseRope } from './parse-rope.ts';

const FILE = 'config.json';
const GENERATION_FILE = 'generation_config.json';
const codes: JsonCodes = { syntax: 'CF_JSON', utf8: 'CF_JSON', duplicate: 'CF_DUP', limit: 'CF_LIMIT' };

const MAX_SIZE = 2 ** 24;
const MAX_LAYERS = 1000;
const MAX_HEADS = 4096;
const MAX_POSITIONS = 2 ** 31 - 1;

const activations = {
  relu: 'relu',
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'geluTanh',
  gelu_fast: 'geluTanh',
  gelu_pytorch_tanh: 'geluTanh',
} as const;

const dtypes = {
  float32: 'f32',
  float: 'f32',
  float16: 'f16',
  half: 'f16',
  bfloat16: 'bf16',
  'torch.float32': 'f32',
  'torch.float16': 'f16',
  'torch.bfloat16': 'bf16',
} as const;

/** Takes a sentence on something in the folder that is ignored on purpose. */
export type NoticeListener = (notice: string) => void;

/**
 * Reads config.json of a supported architecture, with Hugging Face's defaults for absent fields. A field that would change the
 * result and is not supported is an error; fields of training are ignored. Code that the folder brings along (`auto_map`) is never
 * run.
 * @throws ModelFormatError with a code CF_*.
 */
export async function parseModelConfig(source: ModelSource, onNotice: NoticeListener = () => {}): Promise<ModelConfig> {
  const members = await readJsonObject(source, FILE, codes);
  if (members === null) {
    throw new ModelFormatError('CF_MISSING', 'the file is missing', {
      file: FILE,
      expected: 'a Hugging Face model folder',
      advice: `Check the path ${source.location}.`,
    });
  }
  const fields = new ConfigFields(FILE, members);
  const architecture = parseArchitecture(fields);
  refuseUnsupported(fields);
  if (fields.has('auto_map')) onNotice(`${FILE}: auto_map is ignored: code of a model folder is never run.`);
  return parsers[architecture](fields, onNotice);
}

function parseArchitecture(fields: ConfigFields): ModelConfig['architecture'] {
  const supported = Object.keys(parsers) as ModelConfig['architecture'][];
  const value = fields.get('architectures');
  const names = Array.isArray(value) ? value : [];
  const found = supported.find(name => names.length === 1 && names[0] === name);
  if (found !== undefined) return found;
  const shown = names.length > 0 ? names.slice(0, 4).map(showJson).join(', ') : showJson(value);
  throw fields.bad('architectures', `[one of ${supported.join(', ')}]`, 'CF_ARCHITECTURE', shown);
}

/** What other forks of these architectures add, and what would give other results if it were ignored. */
function refuseUnsupported(fields: ConfigFields): void {
  if (fields.has('quantization_config')) {
    throw fields.bad(
      'quantization_config',
      'a checkpoint in float32, float16 or bfloat16',
      'CF_UNSUPPORTED',
      describeQuantization(fields),
    );
  }
  if (fields.boolean('use_sliding_window', false))
    throw fields.bad('use_sliding_window', 'false: full attention', 'CF_UNSUPPORTED');
  refuseSlidingLayers(fields);
  for (const name of ['is_encoder_decoder', 'add_cross_attention']) {
    if (fields.boolean(name, false)) throw fields.bad(name, 'false: a decoder alone', 'CF_UNSUPPORTED');
  }
}

/** Newer files list the kind of every layer. */
function refuseSlidingLayers(fields: ConfigFields): void {
  const layers = fields.get('layer_types') ?? [];
  if (Array.isArray(layers) && layers.every(type => type === 'full_attention')) return;
  const shown = Array.isArray(layers) ? showJson(layers.find(type => type !== 'full_attention')) : showJson(layers);
  throw fields.bad('layer_types', 'a list of "full_attention"', 'CF_UNSUPPORTED', shown);
}

function describeQuantization(fields: ConfigFields): string {
  return `method ${showJson(fields.object('quantization_config')?.get('quant_method'))}`;
}

// ---------------------------------------------------------------------------------------------------------- architectures

const parsers: Readonly<
  Record<ModelConfig['architecture'], (fields: ConfigFields, onNotice: NoticeListener) => ModelConfig>
> = {
  LlamaForCausalLM: parseLlama,
  OPTForCausalLM: parseOpt,
  Qwen2ForCausalLM: parseQwen2,
  Qwen3ForCausalLM: parseQwen3,
};

function parseLlama(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  if (fields.has('sliding_window') && fields.get('use_sliding_window') !== false)
    throw fields.bad('sliding_window', 'null: full attention', 'CF_UNSUPPORTED');
  return {
    ...parseGatedDecoder(fields, onNotice, { maxPositions: 2048 }),
    architecture: 'LlamaForCausalLM',
    mlpBias: fields.boolean('mlp_bias', false),
  };
}

/** Which projections have biases is fixed: the class does not read attention_bias. */
function parseQwen2(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 32_768, numKvHeads: 32 });
  return { ...decoder, architecture: 'Qwen2ForCausalLM', attentionBias: true, attentionOutBias: false };
}

function parseQwen3(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseGatedDecoder(fields, onNotice, { maxPositions: 32_768, numKvHeads: 32, headDim: 128 });
  return { ...decoder, architecture: 'Qwen3ForCausalLM', qkNorm: true };
}

/** Defaults of an architecture on Llama's decoder. */
interface DecoderDefaults {
  readonly maxPositions: number;
  /** Absent: as many as heads. */
  readonly numKvHeads?: number;
  /** Absent: hidden size / heads. */
  readonly headDim?: number;
}

function parseGatedDecoder(fields: ConfigFields, onNotice: NoticeListener, defaults: DecoderDefaults) {
  const common = parseCommon(fields, onNotice, false);
  const { hiddenSize, numHeads } = common;
  const numKvHeads = fields.integer('num_key_value_heads', 1, numHeads, defaults.numKvHeads ?? numHeads);
  if (numHeads % numKvHeads !== 0)
    throw fields.bad('num_key_value_heads', `a divisor of num_attention_heads, ${numHeads}`);
  if (!fields.has('head_dim') && defaults.headDim === undefined) checkDivides(fields, hiddenSize, numHeads);
  const headDim = fields.integer('head_dim', 1, 4096, defaults.headDim ?? Math.floor(hiddenSize / numHeads));
  const maxPositionEmbeddings = fields.integer('max_position_embeddings', 1, MAX_POSITIONS, defaults.maxPositions);
  const attentionBias = fields.boolean('attention_bias', false);
  return {
    ...common,
    intermediateSize: fields.integer('intermediate_size', 1, MAX_SIZE),
    numKvHeads,
    headDim,
    maxPositionEmbeddings,
    normEps: fields.float('rms_norm_eps', isEps, 'a number above 0, at most 1', 1e-6),
    activation: fields.choice('hidden_act', activations, 'silu'),
    attentionBias,
    attentionOutBias: attentionBias,
    qkNorm: false,
    mlpBias: false,
    rope: parseRope(fields, headDim, maxPositionEmbeddings),
    opt: null,
  };
}

function parseOpt(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const common = parseCommon(fields, onNotice, true);
  const { hiddenSize, numHeads } = common;
  checkDivides(fields, hiddenSize, numHeads);
  const bias = fields.boolean('enable_bias', true);
  const doLayerNormBefore = fields.boolean('do_layer_norm_before', true);
  return {
    ...common,
    architecture: 'OPTForCausalLM',
    intermediateSize: fields.integer('ffn_dim', 1, MAX_SIZE),
    numKvHeads: numHeads,
    headDim: hiddenSize / numHeads,
    // The table has two rows more: opt.positionOffset.
    maxPositionEmbeddings: fields.integer('max_position_embeddings', 1, MAX_POSITIONS, 2048),
    normEps: 1e-5,
    activation: fields.choice('activation_function', activations, 'relu'),
    attentionBias: bias,
    attentionOutBias: bias,
    qkNorm: false,
    mlpBias: bias,
    rope: null,
    opt: {
      doLayerNormBefore,
      wordEmbedProjDim: fields.integer('word_embed_proj_dim', 1, MAX_SIZE, hiddenSize),
      positionOffset: 2,
      finalLayerNorm: doLayerNormBefore && !fields.boolean('_remove_final_layer_norm', false),
      layerNormAffine: fields.boolean('layer_norm_elementwise_affine', true),
    },
  };
}

function parseCommon(fields: ConfigFields, onNotice: NoticeListener, tied: boolean) {
  const vocabSize = fields.integer('vocab_size', 1, MAX_SIZE);
  return {
    hiddenSize: fields.integer('hidden_size', 1, MAX_SIZE),
    numLayers: fields.integer('num_hidden_layers', 1, MAX_LAYERS),
    numHeads: fields.integer('num_attention_heads', 1, MAX_HEADS),
    vocabSize,
    tieWordEmbeddings: fields.boolean('tie_word_embeddings', tied),
    bosTokenId: fields.integerOrNull('bos_token_id', 0, vocabSize - 1),
    eosTokenIds: fields.tokenIds('eos_token_id', vocabSize) ?? [],
    padTokenId: parsePadding(fields, vocabSize, onNotice),
    dtype: fields.choice(fields.has('dtype') ? 'dtype' : 'torch_dtype', dtypes, 'float32', 'CF_DTYPE'),
  };
}

function checkDivides(fields: ConfigFields, hiddenSize: number, numHeads: number): void {
  if (hiddenSize % numHeads !== 0) throw fields.bad('num_attention_heads', `a divisor of hidden_size, ${hiddenSize}`);
}

/** Padding is never computed here, and published models set it to -1 or one beyond the vocabulary. */
function parsePadding(fields: ConfigFields, vocabSize: number, onNotice: NoticeListener): number | null {
  const id = fields.integerOrNull('pad_token_id', -1, MAX_SIZE);
  if (id === null || (id >= 0 && id < vocabSize)) return id;
  onNotice(`${FILE}: pad_token_id ${id} is ignored: it lies outside the vocabulary of ${vocabSize}.`);
  return null;
}

function isEps(value: number): boolean {
  return value > 0 && value <= 1;
}

// ------------------------------------------------------------------------------------------------- generation_config.json

/**
 * Reads generation_config.json, the model's own defaults of sampling; all null when the file does not exist. Pass the model's
 * vocabulary size to have token ids checked against it.
 * @throws ModelFormatError with a code CF_*.
 */
export async function parseGenerationConfig(source: ModelSource, vocabSize = MAX_SIZE): Promise<GenerationConfig> {
  const fields = new ConfigFields(GENERATION_FILE, (await readJsonObject(source, GENERATION_FILE, codes)) ?? new Map());
  const topK = fields.integerOrNull('top_k', -1, MAX_SIZE);
  return {
    eosTokenIds: fields.tokenIds('eos_token_id', vocabSize),
    temperature: fields.floatOrNull('temperature', v => v >= 0, 'a number of at least 0'),
    topP: fields.floatOrNull('top_p', v => v > 0 && v <= 1, 'a number above 0, at most 1'),
    // Both 0 and -1 mean off.
    topK: topK === -1 ? 0 : topK,
    minP: fields.floatOrNull('min_p', v => v >= 0 && v <= 1, 'a number from 0 to 1'),
    repetitionPenalty: fields.floatOrNull('repetition_penalty', v => v > 0, 'a number above 0'),
    maxNewTokens: fields.integerOrNull('max_new_tokens', 1, MAX_POSITIONS),
  };
}
