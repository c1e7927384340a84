import { type BadFolder, type Content, changed } from '../harness/bad-folder.ts';
import { entry, safetensors } from '../writers/safetensors.ts';

const QUIRKS = { auto_map: { AutoConfig: 'evil.Config' } };

function llama(name: string, code: string, members: object, message?: RegExp): BadFolder {
  return {
    name: `config: ${name}`,
    code,
    files: { 'config.json': changed('tiny-llama', 'config.json', members) },
    ...(message ? { message } : {}),
  };
}
function opt(name: string, code: string, members: object): BadFolder {
  return {
    name: `config: OPT with ${name}`,
    code,
    base: 'tiny-opt',
    files: { 'config.json': changed('tiny-opt', 'config.json', members) },
  };
}
function file(name: string, code: string, content: Content): BadFolder {
  return { name: `config: ${name}`, code, files: { 'config.json': content } };
}
function generation(name: string, code: string, content: Content): BadFolder {
  return { name: `generation config: ${name}`, code, files: { 'generation_config.json': content } };
}
const rope = (name: string, code: string, scaling: unknown, message?: RegExp) =>
  llama(`rope_scaling ${name}`, code, { rope_scaling: scaling }, message);
const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 256,
};

export const configCases: BadFolder[] = [
  file('absent', 'CF_MISSING', null),
  file('empty', 'CF_JSON', ''),
  file('cut off', 'CF_JSON', '{"architectures": ["LlamaForCausalLM"'),
  file('an array', 'CF_JSON', []),
  file('not UTF-8', 'CF_JSON', Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d])),
  file('with NaN', 'CF_JSON', '{"architectures": ["LlamaForCausalLM"], "rope_theta": NaN}'),
  file('with a key twice', 'CF_DUP', '{"hidden_size": 192, "hidden_size": 64}'),
  file('100,000 levels deep', 'CF_LIMIT', `{"a":${'['.repeat(100_000)}`),
  file('of 5 MB', 'CF_LIMIT', `{"a":"${'x'.repeat(5_000_000)}"}`),
  file('with a million values', 'CF_LIMIT', `{"a":[${'0,'.repeat(1_000_000)}0]}`),
  file('an empty object', 'CF_ARCHITECTURE', {}),
  llama(
    'architecture unknown',
    'CF_ARCHITECTURE',
    { architectures: ['BloomForCausalLM'] },
    /LlamaForCausalLM, MistralForCausalLM/,
  ),
  llama('architecture of an encoder', 'CF_ARCHITECTURE', { architectures: ['BertModel'] }),
  llama('architectures null', 'CF_ARCHITECTURE', { architectures: null }),
  llama('architectures empty', 'CF_ARCHITECTURE', { architectures: [] }),
  llama('architectures a string', 'CF_ARCHITECTURE', { architectures: 'LlamaForCausalLM' }),
  llama('two architectures', 'CF_ARCHITECTURE', { architectures: ['LlamaForCausalLM', 'OPTForCausalLM'] }),
  llama('architecture __proto__ and code to run', 'CF_ARCHITECTURE', { ...QUIRKS, architectures: ['__proto__'] }),
  ...[undefined, null, 0, -1, 1.5, 2 ** 31, 1e300, '768', true, [192], {}].map(value =>
    llama(`hidden_size ${JSON.stringify(value)}`, 'CF_FIELD', { hidden_size: value }),
  ),
  ...[
    'num_hidden_layers',
    'num_attention_heads',
    'vocab_size',
    'intermediate_size',
    'max_position_embeddings',
    'head_dim',
    'num_key_value_heads',
  ].flatMap(field =>
    [0, -1, 1.5, '6'].map(value => llama(`${field} ${JSON.stringify(value)}`, 'CF_FIELD', { [field]: value })),
  ),
  llama('heads that do not divide the hidden size', 'CF_FIELD', {
    num_attention_heads: 7,
    num_key_value_heads: 7,
    head_dim: null,
  }),
  llama('more KV heads than heads', 'CF_FIELD', { num_key_value_heads: 12 }),
  llama('KV heads that do not divide the heads', 'CF_FIELD', { num_key_value_heads: 4 }),
  llama('an odd head_dim', 'CF_FIELD', { head_dim: 33 }, /even/),
  llama('a million layers', 'CF_FIELD', { num_hidden_layers: 1_000_000 }),
  llama('max_position_embeddings 2^40', 'CF_FIELD', { max_position_embeddings: 2 ** 40 }),
  ...[0, -1, '10000', []].map(value => llama(`rope_theta ${JSON.stringify(value)}`, 'CF_FIELD', { rope_theta: value })),
  ...[0, -1e-5, 2, '1e-5'].map(value =>
    llama(`rms_norm_eps ${JSON.stringify(value)}`, 'CF_FIELD', { rms_norm_eps: value }),
  ),
  llama('hidden_act unknown', 'CF_FIELD', { hidden_act: 'mish' }, /silu/),
  llama('hidden_act toString', 'CF_FIELD', { hidden_act: 'toString' }),
  llama('attention_bias a string', 'CF_FIELD', { attention_bias: 'false' }),
  llama('tie_word_embeddings a number', 'CF_FIELD', { tie_word_embeddings: 1 }),
  llama('torch_dtype unknown', 'CF_DTYPE', { torch_dtype: 'float8_e4m3fn' }, /bfloat16/),
  llama('torch_dtype a number', 'CF_DTYPE', { torch_dtype: 16 }),
  llama(
    'quantization_config',
    'CF_UNSUPPORTED',
    { quantization_config: { quant_method: 'gptq', bits: 3 } },
    /bits.*4 or 8/,
  ),
  llama('quant_method unknown', 'CF_UNSUPPORTED', { quantization_config: { quant_method: 'hqq' } }, /"hqq".*gptq, awq/),
  llama('quantization_config without codes', 'WT_MISSING', {
    quantization_config: { quant_method: 'gptq', bits: 4, group_size: 32 },
  }),
  llama('quantization_config a string', 'CF_FIELD', { quantization_config: 'int4' }),
  llama('sliding_window', 'CF_UNSUPPORTED', { sliding_window: 4096 }),
  llama('sliding_window 0', 'CF_UNSUPPORTED', { sliding_window: 0 }),
  llama('use_sliding_window', 'CF_UNSUPPORTED', { use_sliding_window: true }),
  llama('use_sliding_window a number', 'CF_FIELD', { use_sliding_window: 0 }),
  llama('a layer of sliding attention', 'CF_UNSUPPORTED', { layer_types: ['sliding_attention'] }),
  llama('layer_types a string', 'CF_UNSUPPORTED', { layer_types: 'full_attention' }),
  llama('norms of heads that the checkpoint lacks', 'WT_MISSING', { architectures: ['Qwen3ForCausalLM'] }, /q_norm/),
  llama('biases that the checkpoint lacks', 'WT_MISSING', { architectures: ['Qwen2ForCausalLM'] }, /q_proj.bias/),
  llama('is_encoder_decoder', 'CF_UNSUPPORTED', { is_encoder_decoder: true }),
  ...[1024, -1, 1.5, '2', [], [2, 5000], ['2'], {}].map(value =>
    llama(`eos_token_id ${JSON.stringify(value)}`, 'CF_FIELD', { eos_token_id: value }),
  ),
  llama('bos_token_id beyond the vocabulary', 'CF_FIELD', { bos_token_id: 1024 }),
  rope('of unknown type', 'CF_ROPE', { type: 'longer', factor: 2 }, /linear, dynamic, llama3, yarn/),
  rope('longrope without factors', 'CF_FIELD', { type: 'longrope', original_max_position_embeddings: 64 }),
  rope('longrope without the original length', 'CF_FIELD', { type: 'longrope', factor: 2 }),
  rope('yarn with mscale', 'CF_ROPE', { type: 'yarn', factor: 2, mscale: 1 }),
  rope('yarn with equal betas', 'CF_FIELD', { type: 'yarn', factor: 2, beta_fast: 1 }),
  rope('yarn with attention_factor 0', 'CF_FIELD', { type: 'yarn', factor: 2, attention_factor: 0 }),
  rope('mrope', 'CF_ROPE', { rope_type: 'mrope', mrope_section: [1, 2, 3] }),
  rope('with two types', 'CF_ROPE', { type: 'linear', rope_type: 'dynamic', factor: 2 }),
  rope('__proto__', 'CF_ROPE', { type: '__proto__', factor: 2 }),
  rope('a number', 'CF_FIELD', 2),
  rope('without a factor', 'CF_FIELD', { type: 'linear' }),
  rope('with factor 0', 'CF_FIELD', { type: 'linear', factor: 0 }),
  rope('with a factor as text', 'CF_FIELD', { type: 'dynamic', factor: '2' }),
  rope('llama3 without low_freq_factor', 'CF_FIELD', { ...llama3, low_freq_factor: undefined }),
  rope('llama3 without the original length', 'CF_FIELD', { ...llama3, original_max_position_embeddings: undefined }),
  rope('llama3 with equal frequency factors', 'CF_FIELD', { ...llama3, high_freq_factor: 1 }),
  llama('rope_scaling beside rope_parameters', 'CF_ROPE', {
    rope_scaling: { type: 'linear', factor: 2 },
    rope_parameters: { rope_type: 'default' },
  }),
  llama('partial_rotary_factor 0', 'CF_FIELD', { partial_rotary_factor: 0 }),
  llama('more layers than the checkpoint', 'WT_MISSING', { num_hidden_layers: 6 }),
  llama('fewer layers than the checkpoint', 'WT_UNEXPECTED', { num_hidden_layers: 4 }),
  llama('another vocabulary than the embedding', 'WT_SHAPE', { vocab_size: 1000, eos_token_id: 2 }),
  llama('another hidden size', 'WT_SHAPE', { hidden_size: 384 }),
  llama('a head that the checkpoint lacks', 'WT_MISSING', { tie_word_embeddings: false }, /lm_head/),
  {
    name: 'config: weights that are integers',
    code: 'WT_DTYPE',
    files: {
      'model.safetensors': safetensors(
        { 'model.embed_tokens.weight': entry([1024, 192], [0, 1024 * 192], 'U8') },
        1024 * 192,
      ),
    },
  },
  opt('heads that do not divide the hidden size', 'CF_FIELD', { num_attention_heads: 7 }),
  opt('ffn_dim missing', 'CF_FIELD', { ffn_dim: undefined }),
  opt('an unknown activation', 'CF_FIELD', { activation_function: 'gelu_10' }),
  opt('word_embed_proj_dim 0', 'CF_FIELD', { word_embed_proj_dim: 0 }),
  opt('do_layer_norm_before as text', 'CF_FIELD', { do_layer_norm_before: 'true' }),
  opt('projections that the checkpoint lacks', 'WT_SHAPE', { word_embed_proj_dim: 96 }),
  opt('positions that the checkpoint lacks', 'WT_SHAPE', { max_position_embeddings: 1024 }),

  generation('empty', 'CF_JSON', ''),
  generation('null', 'CF_JSON', 'null'),
  generation('a key twice', 'CF_DUP', '{"top_k": 1, "top_k": 2}'),
  generation('temperature "NaN"', 'CF_FIELD', { temperature: 'NaN' }),
  generation('temperature NaN', 'CF_JSON', '{"temperature": NaN}'),
  generation('temperature negative', 'CF_FIELD', { temperature: -1 }),
  generation('temperature 1e999', 'CF_FIELD', '{"temperature": 1e999}'),
  generation('top_p 0', 'CF_FIELD', { top_p: 0 }),
  generation('top_p 1.5', 'CF_FIELD', { top_p: 1.5 }),
  generation('top_k 1.5', 'CF_FIELD', { top_k: 1.5 }),
  generation('top_k -2', 'CF_FIELD', { top_k: -2 }),
  generation('min_p 2', 'CF_FIELD', { min_p: 2 }),
  generation('repetition_penalty 0', 'CF_FIELD', { repetition_penalty: 0 }),
  generation('max_new_tokens 0', 'CF_FIELD', { max_new_tokens: 0 }),
  generation('eos_token_id beyond the vocabulary', 'CF_FIELD', { eos_token_id: [2, 1024] }),
  generation('eos_token_id empty', 'CF_FIELD', { eos_token_id: [] }),
];
