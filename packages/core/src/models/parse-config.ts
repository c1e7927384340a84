import { ModelFormatError } from '../errors.ts';
import { type JsonCodes, readJsonObject } from '../weights/json-file.ts';
import { showJson } from '../weights/json-tree.ts';
import type { ModelSource } from '../weights/types.ts';
import type { GenerationConfig, ModelConfig } from './config.ts';
import { ConfigFields } from './config-fields.ts';
import { MAX_POSITIONS, MAX_SIZE, type NoticeListener, type Parser } from './parse-common.ts';
import { parseGemma, parseGemma2, parseGemma3 } from './parse-gemma.ts';
import { parseGpt2, parseGptNeoX, parseOpt } from './parse-gpt.ts';
import {
  parseLlama,
  parseMistral,
  parseMixtral,
  parseOlmo2,
  parsePhi3,
  parseQwen2,
  parseQwen3,
  parseQwen3Moe,
  parseSmolLm3,
} from './parse-llama.ts';
import { parseQuantization } from './parse-quantization.ts';
import { lastToken, parseDimensions, readPooling } from './pooling.ts';
import { refuseUnread } from './result-fields.ts';

export type { NoticeListener } from './parse-common.ts';

const FILE = 'config.json';
const GENERATION_FILE = 'generation_config.json';
const codes: JsonCodes = { syntax: 'CF_JSON', utf8: 'CF_JSON', duplicate: 'CF_DUP', limit: 'CF_LIMIT' };

const parsers: Readonly<Record<ModelConfig['architecture'], Parser>> = {
  GPT2LMHeadModel: parseGpt2,
  GPTNeoXForCausalLM: parseGptNeoX,
  Gemma2ForCausalLM: parseGemma2,
  Gemma3ForCausalLM: parseGemma3,
  GemmaForCausalLM: parseGemma,
  LlamaForCausalLM: parseLlama,
  MistralForCausalLM: parseMistral,
  MixtralForCausalLM: parseMixtral,
  OPTForCausalLM: parseOpt,
  Olmo2ForCausalLM: parseOlmo2,
  Phi3ForCausalLM: parsePhi3,
  Qwen2ForCausalLM: parseQwen2,
  Qwen3ForCausalLM: parseQwen3,
  Qwen3MoeForCausalLM: parseQwen3Moe,
  SmolLM3ForCausalLM: parseSmolLm3,
};

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
  const { architecture, isBare } = parseArchitecture(fields);
  refuseUnsupported(fields);
  if (fields.has('auto_map')) onNotice(`${FILE}: auto_map is ignored: code of a model folder is never run.`);
  const quantization = await parseQuantization(fields, source, onNotice);
  if (quantization !== null && architecture === 'GPT2LMHeadModel') {
    throw fields.bad('quantization_config', 'no such field: matrices of GPT-2 are transposed', 'CF_UNSUPPORTED');
  }
  const config = { ...parsers[architecture](fields, onNotice), quantization };
  const modules = await readPooling(source);
  const pooling = modules ?? (isBare ? lastToken : null);
  const dimensions = parseDimensions(fields, config.hiddenSize);
  refuseUnread(fields);
  return pooling === null ? config : { ...config, pooling: { ...pooling, dimensions } };
}

/** Decoders that were saved without a head: they make embeddings. */
const bareDecoders: Readonly<Record<string, ModelConfig['architecture']>> = {
  Gemma3TextModel: 'Gemma3ForCausalLM',
  LlamaModel: 'LlamaForCausalLM',
  MistralModel: 'MistralForCausalLM',
  Qwen2Model: 'Qwen2ForCausalLM',
  Qwen3Model: 'Qwen3ForCausalLM',
};

function parseArchitecture(fields: ConfigFields): { architecture: ModelConfig['architecture']; isBare: boolean } {
  const supported = Object.keys(parsers) as ModelConfig['architecture'][];
  const value = fields.get('architectures');
  const names = Array.isArray(value) ? value : [];
  const found = supported.find(name => names.length === 1 && names[0] === name);
  if (found !== undefined) return { architecture: found, isBare: false };
  const bare = names.length === 1 && typeof names[0] === 'string' && Object.hasOwn(bareDecoders, names[0]);
  if (bare) return { architecture: bareDecoders[names[0] as string]!, isBare: true };
  const shown = names.length > 0 ? names.slice(0, 4).map(showJson).join(', ') : showJson(value);
  throw fields.bad('architectures', `[one of ${supported.join(', ')}]`, 'CF_ARCHITECTURE', shown);
}

function refuseUnsupported(fields: ConfigFields): void {
  for (const name of ['is_encoder_decoder', 'add_cross_attention']) {
    if (fields.boolean(name, false)) throw fields.bad(name, 'false: a decoder alone', 'CF_UNSUPPORTED');
  }
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
