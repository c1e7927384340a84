import { readFileSync } from 'node:fs';
import { MemorySource } from '@quire/core/weights';
import { describe, expect, it } from 'vitest';
import type { ModelConfig } from '../../../packages/core/src/models/config.ts';
import { supportedArchitectures } from '../../../packages/core/src/models/index.ts';
import { plainDecoder } from '../../../packages/core/src/models/parse-common.ts';
import { parseGenerationConfig, parseModelConfig } from '../../../packages/core/src/models/parse-config.ts';

const llama = {
  architectures: ['LlamaForCausalLM'],
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 100,
  max_position_embeddings: 32,
};
const opt = {
  architectures: ['OPTForCausalLM'],
  hidden_size: 64,
  ffn_dim: 256,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 100,
  max_position_embeddings: 32,
};

function folder(file: string, content: unknown): MemorySource {
  return new MemorySource(
    new Map([[file, Buffer.from(typeof content === 'string' ? content : JSON.stringify(content))]]),
  );
}
function parse(config: unknown, onNotice?: (notice: string) => void): Promise<ModelConfig> {
  return parseModelConfig(folder('config.json', config), onNotice);
}

describe('parseModelConfig', () => {
  it('reads the bundled models', async () => {
    const read = (model: string) => parse(readFileSync(`models/${model}/config.json`, 'utf8'));
    expect(await read('tiny-llama')).toEqual({
      architecture: 'LlamaForCausalLM',
      hiddenSize: 192,
      intermediateSize: 512,
      numLayers: 5,
      numHeads: 6,
      numKvHeads: 2,
      headDim: 32,
      vocabSize: 1024,
      maxPositionEmbeddings: 512,
      normEps: 1e-5,
      activation: 'silu',
      attentionBias: false,
      attentionOutBias: false,
      ...plainDecoder,
      mlpBias: false,
      tieWordEmbeddings: true,
      rope: { theta: 10_000, rotaryDim: 32, scaling: { type: 'none' } },
      bosTokenId: 0,
      eosTokenIds: [2],
      padTokenId: 0,
      dtype: 'f16',
    });
    expect(await read('tiny-opt')).toMatchObject({
      architecture: 'OPTForCausalLM',
      intermediateSize: 768,
      numKvHeads: 6,
      normEps: 1e-5,
      activation: 'relu',
      attentionBias: true,
      mlpBias: true,
      tieWordEmbeddings: true,
      rope: null,
      opt: {
        doLayerNormBefore: true,
        wordEmbedProjDim: 192,
        positionOffset: 2,
        finalLayerNorm: true,
        layerNormAffine: true,
      },
    });
  });

  it("fills in Hugging Face's defaults", async () => {
    expect(await parse(llama)).toMatchObject({
      numKvHeads: 4,
      headDim: 16,
      normEps: 1e-6,
      activation: 'silu',
      attentionBias: false,
      mlpBias: false,
      tieWordEmbeddings: false,
      rope: { theta: 10_000, rotaryDim: 16, scaling: { type: 'none' } },
      bosTokenId: null,
      eosTokenIds: [],
      padTokenId: null,
      dtype: 'f32',
    });
    expect(await parse(opt)).toMatchObject({
      activation: 'relu',
      attentionBias: true,
      mlpBias: true,
      tieWordEmbeddings: true,
      opt: { doLayerNormBefore: true, wordEmbedProjDim: 64, finalLayerNorm: true, layerNormAffine: true },
    });
    const nulls = {
      head_dim: null,
      num_key_value_heads: null,
      rope_scaling: null,
      sliding_window: null,
      quantization_config: null,
      eos_token_id: null,
    };
    expect(await parse({ ...llama, ...nulls })).toEqual(await parse(llama));
  });

  it('reads a Llama 3.2 configuration', async () => {
    const scaling = {
      factor: 32.0,
      high_freq_factor: 4.0,
      low_freq_factor: 1.0,
      original_max_position_embeddings: 8192,
      rope_type: 'llama3',
    };
    const config = {
      ...llama,
      hidden_size: 2048,
      num_attention_heads: 32,
      num_key_value_heads: 8,
      head_dim: 64,
      vocab_size: 128_256,
      max_position_embeddings: 131_072,
      rope_theta: 500_000.0,
      rope_scaling: scaling,
      tie_word_embeddings: true,
      bos_token_id: 128_000,
      eos_token_id: [128_001, 128_008, 128_009],
      torch_dtype: 'bfloat16',
      pretraining_tp: 1,
      attention_dropout: 0.0,
    };
    expect(await parse(config)).toMatchObject({
      rope: {
        theta: 500_000,
        rotaryDim: 64,
        scaling: { type: 'llama3', factor: 32, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
      },
      numKvHeads: 8,
      eosTokenIds: [128_001, 128_008, 128_009],
      tieWordEmbeddings: true,
      dtype: 'bf16',
    });
  });

  it('reads Qwen2.5 and Qwen3 configurations', async () => {
    const qwen = {
      ...llama,
      num_key_value_heads: 2,
      rope_theta: 1_000_000,
      rope_scaling: null,
      sliding_window: 4096,
      max_window_layers: 28,
      use_sliding_window: false,
      layer_types: ['full_attention', 'full_attention'],
      tie_word_embeddings: true,
      torch_dtype: 'bfloat16',
    };
    expect(await parse({ ...qwen, architectures: ['Qwen2ForCausalLM'] })).toMatchObject({
      architecture: 'Qwen2ForCausalLM',
      headDim: 16,
      numKvHeads: 2,
      attentionBias: true,
      attentionOutBias: false,
      qkNorm: 'none',
      mlpBias: false,
      tieWordEmbeddings: true,
      rope: { theta: 1_000_000, rotaryDim: 16, scaling: { type: 'none' } },
    });
    const qwen3 = { ...qwen, architectures: ['Qwen3ForCausalLM'], max_position_embeddings: undefined };
    expect(await parse(qwen3)).toMatchObject({
      architecture: 'Qwen3ForCausalLM',
      headDim: 128,
      attentionBias: false,
      attentionOutBias: false,
      qkNorm: 'heads',
      maxPositionEmbeddings: 32_768,
    });
    expect(await parse({ ...qwen3, head_dim: 32, attention_bias: true, use_sliding_window: undefined })).toMatchObject({
      headDim: 32,
      attentionBias: true,
      attentionOutBias: true,
    });
  });

  it('reads rope scaling in each spelling', async () => {
    const scalingOf = async (more: object) => (await parse({ ...llama, ...more })).rope;
    const linear = { theta: 10_000, rotaryDim: 16, scaling: { type: 'linear', factor: 2 } };
    expect(await scalingOf({ rope_scaling: { type: 'linear', factor: 2 } })).toEqual(linear);
    expect(await scalingOf({ rope_scaling: { rope_type: 'linear', factor: 2.0 } })).toEqual(linear);
    expect(await scalingOf({ rope_scaling: { type: 'linear', rope_type: 'linear', factor: 2.0 } })).toEqual(linear);
    expect(await scalingOf({ rope_parameters: { rope_theta: 1e6, rope_type: 'linear', factor: 2.0 } })).toEqual({
      ...linear,
      theta: 1e6,
    });
    expect(await scalingOf({ rope_theta: 5e5, rope_parameters: { rope_type: 'default' } })).toEqual({
      theta: 5e5,
      rotaryDim: 16,
      scaling: { type: 'none' },
    });
    expect((await scalingOf({ rope_scaling: { type: 'dynamic', factor: 4 } }))?.scaling).toEqual({
      type: 'dynamic',
      factor: 4,
      originalMaxPositions: 32,
    });
    expect(
      (await scalingOf({ rope_scaling: { type: 'dynamic', factor: 4, original_max_position_embeddings: 8 } }))?.scaling,
    ).toMatchObject({ originalMaxPositions: 8 });
    expect((await scalingOf({ rope_scaling: { rope_type: 'yarn', factor: 4.0 } }))?.scaling).toEqual({
      type: 'yarn',
      factor: 4,
      originalMaxPositions: 32,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
      attentionFactor: 0.1 * Math.log(4) + 1,
    });
    const yarn = { type: 'yarn', factor: 2, original_max_position_embeddings: 16, beta_fast: 8, beta_slow: 2 };
    expect((await scalingOf({ rope_scaling: { ...yarn, attention_factor: 1, truncate: false } }))?.scaling).toEqual({
      type: 'yarn',
      factor: 2,
      originalMaxPositions: 16,
      betaFast: 8,
      betaSlow: 2,
      truncate: false,
      attentionFactor: 1,
    });
    expect((await scalingOf({ partial_rotary_factor: 0.5 }))?.rotaryDim).toBe(8);
  });

  it('reads the variants of OPT', async () => {
    const old = await parse({
      ...opt,
      do_layer_norm_before: false,
      word_embed_proj_dim: 32,
      enable_bias: false,
      layer_norm_elementwise_affine: false,
    });
    expect(old).toMatchObject({
      attentionBias: false,
      mlpBias: false,
      opt: { doLayerNormBefore: false, finalLayerNorm: false, wordEmbedProjDim: 32, layerNormAffine: false },
    });
    expect((await parse({ ...opt, _remove_final_layer_norm: true })).opt?.finalLayerNorm).toBe(false);
  });

  it.each([
    ['relu', 'relu'],
    ['silu', 'silu'],
    ['swish', 'silu'],
    ['gelu', 'gelu'],
    ['gelu_new', 'geluTanh'],
    ['gelu_fast', 'geluTanh'],
    ['gelu_pytorch_tanh', 'geluTanh'],
  ])('maps the activation %s to %s', async (name, activation) => {
    expect((await parse({ ...llama, hidden_act: name })).activation).toBe(activation);
    expect((await parse({ ...opt, activation_function: name })).activation).toBe(activation);
  });

  it('takes the dtype from dtype or torch_dtype', async () => {
    expect((await parse({ ...llama, dtype: 'bfloat16', torch_dtype: 'float16' })).dtype).toBe('bf16');
    expect((await parse({ ...llama, torch_dtype: 'float16' })).dtype).toBe('f16');
  });

  it('notices what it ignores', async () => {
    const notices: string[] = [];
    const config = await parse(
      {
        ...llama,
        auto_map: { AutoModel: 'evil.Model' },
        pad_token_id: -1,
        use_sliding_window: false,
        sliding_window: 4096,
      },
      notice => notices.push(notice),
    );
    expect(config.padTokenId).toBeNull();
    expect(notices).toEqual([
      'config.json: auto_map is ignored: code of a model folder is never run.',
      'config.json: pad_token_id -1 is ignored: it lies outside the vocabulary of 100.',
    ]);
  });

  it('names the field, what was found, and what is supported', async () => {
    await expect(parse({ ...llama, rope_scaling: { rope_type: 'mrope', factor: 4 } })).rejects.toThrow(
      'config.json, field rope_scaling.rope_type: this value is not supported. Found "mrope". Expected one of default, linear, dynamic, llama3, yarn, longrope, su.',
    );
    await expect(parse({ ...llama, architectures: ['BloomForCausalLM'] })).rejects.toThrow(
      `config.json, field architectures: this value is not supported. Found "BloomForCausalLM". Expected [one of ${supportedArchitectures.join(', ')}].`,
    );
    const qwen = { ...llama, architectures: ['Qwen2ForCausalLM'], num_key_value_heads: 4 };
    await expect(parse({ ...llama, use_sliding_window: true, sliding_window: 4096 })).rejects.toThrow(
      'config.json, field use_sliding_window: this value is not supported. Found true. Expected false: full attention.',
    );
    const mixed = ['full_attention', 'chunked_attention'];
    await expect(parse({ ...qwen, layer_types: mixed })).rejects.toThrow(
      'config.json, field layer_types: this value is not supported. Found "chunked_attention". Expected a list of 2, each one of full_attention, sliding_attention.',
    );
    await expect(parse({ ...llama, final_logit_softcapping: 30.0 })).rejects.toThrow(
      'config.json, field final_logit_softcapping: this value is not supported. Found 30. Expected no such field, or null: this architecture does not have it.',
    );
    await expect(parse({ ...llama, residual_multiplier: 0.22, embedding_multiplier: 1.0 })).rejects.toThrow(
      'config.json, field residual_multiplier: this value is not supported. Found 0.22. Expected 1, or null: this architecture does not have it.',
    );
    await expect(parse({ ...qwen, num_key_value_heads: undefined })).rejects.toThrow('num_key_value_heads');
    await expect(parse({ ...llama, hidden_size: undefined })).rejects.toThrow(
      'config.json, field hidden_size: the field is missing. Expected an integer from 1 to 16777216.',
    );
    await expect(parse({ ...llama, quantization_config: { quant_method: 'awq', bits: 3 } })).rejects.toThrow(
      'config.json, field quantization_config.bits: this value is not supported. Found 3. Expected 4.',
    );
  });
});

describe('parseGenerationConfig', () => {
  const generation = (content: unknown, vocabSize?: number) =>
    parseGenerationConfig(folder('generation_config.json', content), vocabSize);
  const none = {
    eosTokenIds: null,
    temperature: null,
    topP: null,
    topK: null,
    minP: null,
    repetitionPenalty: null,
    maxNewTokens: null,
  };

  it('is all null without a file, and where the file sets nothing', async () => {
    expect(await parseGenerationConfig(new MemorySource(new Map()))).toEqual(none);
    expect(await generation({ transformers_version: '4.44.0', do_sample: true, temperature: null })).toEqual(none);
  });

  it('reads defaults of sampling', async () => {
    const content = {
      eos_token_id: [2, 0],
      temperature: 0.6,
      top_p: 0.9,
      top_k: 50,
      min_p: 0.05,
      repetition_penalty: 1.1,
      max_new_tokens: 256,
    };
    expect(await generation(content)).toEqual({
      eosTokenIds: [2, 0],
      temperature: 0.6,
      topP: 0.9,
      topK: 50,
      minP: 0.05,
      repetitionPenalty: 1.1,
      maxNewTokens: 256,
    });
    expect(await generation({ eos_token_id: 2, temperature: 1, top_p: 1.0, top_k: -1 })).toMatchObject({
      eosTokenIds: [2],
      temperature: 1,
      topP: 1,
      topK: 0,
    });
  });

  it('checks ids against the vocabulary that it is given', async () => {
    await expect(generation({ eos_token_id: 100 }, 100)).rejects.toMatchObject({
      code: 'CF_FIELD',
      details: { file: 'generation_config.json', field: 'eos_token_id' },
    });
  });
});
