import type { LayerConfig, ModelConfig } from './config.ts';
import type { ConfigFields } from './config-fields.ts';

export const MAX_SIZE = 2 ** 24;
export const MAX_POSITIONS = 2 ** 31 - 1;
const MAX_LAYERS = 1000;
const MAX_HEADS = 4096;

export const activations = {
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

/** Reads the config.json of one architecture, with the defaults of its configuration class. */
export type Parser = (fields: ConfigFields, onNotice: NoticeListener) => ModelConfig;

/** What most architectures do without. */
export const plainDecoder = {
  qkNorm: 'none',
  layers: null,
  localRope: null,
  attentionScale: null,
  attentionSoftCap: 0,
  logitSoftCap: 0,
  embeddingScale: 1,
  normsAddOne: false,
  parallelResidual: false,
  experts: null,
  opt: null,
  pooling: null,
  quantization: null,
} as const satisfies Partial<ModelConfig>;

/** What an architecture calls the sizes of its decoder. */
export interface SizeNames {
  readonly hiddenSize: string;
  readonly numLayers: string;
  readonly numHeads: string;
}

const usualNames: SizeNames = {
  hiddenSize: 'hidden_size',
  numLayers: 'num_hidden_layers',
  numHeads: 'num_attention_heads',
};

/** `tied`: the default of tie_word_embeddings. */
export function parseCommon(fields: ConfigFields, onNotice: NoticeListener, tied: boolean, names = usualNames) {
  const vocabSize = fields.integer('vocab_size', 1, MAX_SIZE);
  return {
    hiddenSize: fields.integer(names.hiddenSize, 1, MAX_SIZE),
    numLayers: fields.integer(names.numLayers, 1, MAX_LAYERS),
    numHeads: fields.integer(names.numHeads, 1, MAX_HEADS),
    vocabSize,
    tieWordEmbeddings: fields.boolean('tie_word_embeddings', tied),
    bosTokenId: fields.integerOrNull('bos_token_id', 0, vocabSize - 1),
    eosTokenIds: fields.tokenIds('eos_token_id', vocabSize) ?? [],
    padTokenId: parsePadding(fields, vocabSize, onNotice),
    dtype: fields.choice(fields.has('dtype') ? 'dtype' : 'torch_dtype', dtypes, 'float32', 'CF_DTYPE'),
  };
}

export function checkDivides(fields: ConfigFields, hiddenSize: number, numHeads: number, names = usualNames): void {
  if (hiddenSize % numHeads === 0) return;
  throw fields.bad(names.numHeads, `a divisor of ${names.hiddenSize}, ${hiddenSize}`);
}

/** Padding is never computed here, and published models set it to -1 or one beyond the vocabulary. */
function parsePadding(fields: ConfigFields, vocabSize: number, onNotice: NoticeListener): number | null {
  const id = fields.integerOrNull('pad_token_id', -1, MAX_SIZE);
  if (id === null || (id >= 0 && id < vocabSize)) return id;
  onNotice(`config.json: pad_token_id ${id} is ignored: it lies outside the vocabulary of ${vocabSize}.`);
  return null;
}

export function parseEps(fields: ConfigFields, name: string, fallback: number): number {
  return fields.float(name, value => value > 0 && value <= 1, 'a number above 0, at most 1', fallback);
}

/**
 * Which layers see a window only: newer files list the kind of every layer, older ones leave it to `slidesByDefault`. Null where
 * all see everything.
 */
export function parseWindows(
  fields: ConfigFields,
  numLayers: number,
  slidesByDefault: (layer: number) => boolean,
): LayerConfig[] | null {
  const listed = fields.choices('layer_types', numLayers, { full_attention: false, sliding_attention: true });
  const slides = listed ?? Array.from({ length: numLayers }, (_, layer) => slidesByDefault(layer));
  if (!slides.includes(true)) return null;
  const window = fields.integer('sliding_window', 1, MAX_POSITIONS);
  return slides.map(sliding => ({ window: sliding ? window : 0, positions: 'global' }));
}
