import { MemorySource } from '@quire/core/weights';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../../packages/core/src/models/parse-config.ts';

const sizes = {
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 100,
  max_position_embeddings: 256,
};

function parse(architecture: string, fields: object) {
  const text = JSON.stringify({ architectures: [architecture], ...fields });
  return parseModelConfig(new MemorySource(new Map([['config.json', new TextEncoder().encode(text)]])));
}

const windows = (...sizes: number[]) => sizes.map(window => ({ window, positions: 'global' }));

describe('parseModelConfig', () => {
  it('reads the window of Mistral', async () => {
    const mistral = (fields: object) => parse('MistralForCausalLM', { ...sizes, ...fields });
    expect((await mistral({ sliding_window: 32 })).layers).toEqual(windows(32, 32, 32, 32));
    expect((await mistral({ sliding_window: null })).layers).toBeNull();
    expect(await mistral({ head_dim: 24 })).toMatchObject({ headDim: 24, attentionBias: false, layers: null });
    await expect(mistral({ sliding_window: 0 })).rejects.toThrow('field sliding_window: this value is not supported');
  });

  it('lets later layers of Qwen2 see a window, or those that the file lists', async () => {
    const qwen = (fields: object) => parse('Qwen2ForCausalLM', { ...sizes, sliding_window: 32, ...fields });
    expect((await qwen({})).layers).toBeNull();
    expect((await qwen({ use_sliding_window: true, max_window_layers: 3 })).layers).toEqual(windows(0, 0, 0, 32));
    const types = ['full_attention', 'sliding_attention', 'full_attention', 'sliding_attention'];
    expect((await qwen({ layer_types: types })).layers).toEqual(windows(0, 32, 0, 32));
    await expect(qwen({ layer_types: types.slice(1) })).rejects.toThrow(
      'field layer_types: this value is not supported. Found "3 entries". Expected a list of 4',
    );
  });

  it('reads long RoPE of Phi-3', async () => {
    const factors = (value: number) => Array(8).fill(value);
    const scaling = { type: 'longrope', short_factor: factors(1), long_factor: factors(2.5) };
    const fields = { ...sizes, num_key_value_heads: undefined, original_max_position_embeddings: 64 };
    const phi3 = (rope_scaling: object) => parse('Phi3ForCausalLM', { ...fields, rope_scaling });
    const { rope, numKvHeads } = await phi3(scaling);
    expect(numKvHeads).toBe(4);
    expect(rope!.scaling).toEqual({
      type: 'longrope',
      shortFactors: factors(1),
      longFactors: factors(2.5),
      originalMaxPositions: 64,
      attentionFactor: Math.sqrt(1 + Math.log(4) / Math.log(64)),
    });
    await expect(phi3({ ...scaling, long_factor: factors(2).slice(1) })).rejects.toThrow(
      'field rope_scaling.long_factor: this value is not supported. Found a list of 7',
    );
    await expect(phi3({ ...scaling, short_mscale: 1.1 })).rejects.toThrow('rope_scaling.short_mscale');
  });

  it('reads which layers of SmolLM3 have no positions', async () => {
    const rotary = async (fields: object) =>
      (await parse('SmolLM3ForCausalLM', { ...sizes, ...fields })).layers!.map(layer => layer.positions === 'global');
    expect(await rotary({})).toEqual([true, true, true, false]);
    expect(await rotary({ no_rope_layer_interval: 2 })).toEqual([true, false, true, false]);
    expect(await rotary({ no_rope_layers: [0, 1, 1, 1] })).toEqual([false, true, true, true]);
    await expect(rotary({ no_rope_layers: [0, 1, 1, 2] })).rejects.toThrow('no_rope_layers');
  });

  it('reads caps, scales, windows and bases of Gemma', async () => {
    const gemma = (version: string, fields: object = {}) =>
      parse(`Gemma${version}ForCausalLM`, { ...sizes, ...fields });
    expect(await gemma('', { hidden_act: 'gelu', torch_dtype: 'bfloat16', hidden_size: 2048 })).toMatchObject({
      headDim: 256,
      activation: 'geluTanh',
      tieWordEmbeddings: true,
      // The root of 2048, 45.25483, in bfloat16.
      embeddingScale: 45.25,
      normsAddOne: true,
      logitSoftCap: 0,
      layers: null,
    });
    expect(await gemma('2', { sliding_window: 32, query_pre_attn_scalar: 16 })).toMatchObject({
      attentionScale: 0.25,
      attentionSoftCap: 50,
      logitSoftCap: 30,
      layers: windows(32, 0, 32, 0),
    });
    expect(await gemma('2', { sliding_window: 32, attn_logit_softcapping: null })).toMatchObject({
      attentionSoftCap: 0,
    });
    const gemma3 = await gemma('3', { sliding_window: 32, sliding_window_pattern: 2, rope_local_base_freq: 500 });
    expect(gemma3).toMatchObject({
      attentionScale: 1 / 16,
      attentionSoftCap: 0,
      qkNorm: 'heads',
      rope: { theta: 1e6 },
      localRope: { theta: 500, rotaryDim: 256 },
    });
    expect(gemma3.layers!.map(layer => layer.positions)).toEqual(['local', 'global', 'local', 'global']);
    await expect(gemma('2', { sliding_window: 32, final_logit_softcapping: -1 })).rejects.toThrow(
      'final_logit_softcapping',
    );
    await expect(gemma('3', { sliding_window: 32, use_bidirectional_attention: true })).rejects.toThrow(
      'bidirectional',
    );
  });

  it('reads OLMo 2', async () => {
    expect(await parse('Olmo2ForCausalLM', sizes)).toMatchObject({
      qkNorm: 'all',
      normEps: 1e-5,
      tieWordEmbeddings: false,
    });
    await expect(parse('Olmo2ForCausalLM', { ...sizes, clip_qkv: 8 })).rejects.toThrow('field clip_qkv');
  });

  it('reads GPT-2 and GPT-NeoX by their own names', async () => {
    const gpt2 = { n_embd: 64, n_layer: 2, n_head: 4, vocab_size: 100 };
    expect(await parse('GPT2LMHeadModel', gpt2)).toMatchObject({
      intermediateSize: 256,
      maxPositionEmbeddings: 1024,
      activation: 'geluTanh',
      tieWordEmbeddings: true,
    });
    const inverse = { ...gpt2, scale_attn_by_inverse_layer_idx: true };
    await expect(parse('GPT2LMHeadModel', inverse)).rejects.toThrow('field scale_attn_by_inverse_layer_idx');
    await expect(parse('GPT2LMHeadModel', { ...gpt2, scale_attn_weights: false })).rejects.toThrow(
      'scale_attn_weights',
    );
    await expect(parse('GPT2LMHeadModel', { ...gpt2, n_head: 3 })).rejects.toThrow('a divisor of n_embd, 64');
    expect(await parse('GPTNeoXForCausalLM', { ...sizes, rotary_emb_base: 5000 })).toMatchObject({
      rope: { theta: 5000, rotaryDim: 4 },
      parallelResidual: true,
      numKvHeads: 4,
      attentionBias: true,
    });
  });
});
