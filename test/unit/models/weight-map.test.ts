import { describe, expect, it } from 'vitest';
import { ModelFormatError } from '../../../packages/core/src/errors.ts';
import type { ModelConfig } from '../../../packages/core/src/models/config.ts';
import { mapWeights } from '../../../packages/core/src/models/index.ts';
import { llamaConfig, optConfig } from './configs.ts';
import { completeTensors, type FakeTensor, fakeCheckpoint } from './fake-checkpoint.ts';

const extra: FakeTensor = { dtype: 'f16', shape: [1], values: new Float32Array(1) };

function map(config: ModelConfig, tensors: Record<string, FakeTensor>) {
  return mapWeights(config, fakeCheckpoint(tensors));
}

function failure(config: ModelConfig, tensors: Record<string, FakeTensor>): ModelFormatError {
  try {
    map(config, tensors);
  } catch (error) {
    if (error instanceof ModelFormatError) return error;
    throw error;
  }
  throw new Error('The checkpoint was accepted.');
}

describe('mapWeights', () => {
  it.each(['model.', ''])('finds Llama tensors under the prefix "%s"', prefix => {
    const config = llamaConfig({ tieWordEmbeddings: false });
    const tensors = completeTensors(config, prefix);
    const found = map(config, tensors);
    expect(new Set([...found.values()].map(tensor => tensor.name))).toEqual(new Set(Object.keys(tensors)));
    expect(found.get('layers.1.mlp.up_proj.weight')!.name).toBe(`${prefix}layers.1.mlp.up_proj.weight`);
    expect(found.get('lm_head.weight')!.shape).toEqual([96, 32]);
  });

  it.each(['model.decoder.', 'decoder.', ''])('finds OPT tensors under the prefix "%s"', prefix => {
    const config = optConfig({ opt: { wordEmbedProjDim: 16 } });
    const found = map(config, completeTensors(config, prefix));
    expect(found.get('project_in.weight')!.name).toBe(`${prefix}project_in.weight`);
    expect(found.get('embed_positions.weight')!.shape).toEqual([66, 32]);
  });

  it('ignores buffers and the head of a model that shares its table', () => {
    const config = llamaConfig();
    const tensors = completeTensors(config, 'model.');
    tensors['model.layers.0.self_attn.rotary_emb.inv_freq'] = extra;
    tensors['lm_head.weight'] = extra;
    expect(map(config, tensors).has('lm_head.weight')).toBe(false);
  });

  it('names a missing tensor, the names it was looked for under and its shape', () => {
    const config = llamaConfig({ attentionBias: true });
    const tensors = completeTensors(config, 'model.');
    delete tensors['model.layers.1.self_attn.k_proj.bias'];
    const error = failure(config, tensors);
    expect(error.code).toBe('WT_MISSING');
    expect(error.details).toMatchObject({
      file: 'model.safetensors',
      tensor: 'model.layers.1.self_attn.k_proj.bias',
      found: '27 tensors, none of them named model.layers.1.self_attn.k_proj.bias or layers.1.self_attn.k_proj.bias',
      expected: 'a tensor of shape [16]',
    });
  });

  it('says what to do when a separate head is missing', () => {
    const error = failure(llamaConfig({ tieWordEmbeddings: false }), completeTensors(llamaConfig(), 'model.'));
    expect(error.details.advice).toContain('tie_word_embeddings');
  });

  it('names a tensor of another shape', () => {
    const tensors = completeTensors(llamaConfig(), 'model.');
    tensors['model.layers.0.mlp.down_proj.weight']!.shape = [48, 32];
    const error = failure(llamaConfig(), tensors);
    expect(error.code).toBe('WT_SHAPE');
    expect(error.details).toMatchObject({
      tensor: 'model.layers.0.mlp.down_proj.weight',
      found: '[48, 32]',
      expected: '[32, 48]',
    });
  });

  it('refuses integers as weights', () => {
    const tensors = completeTensors(llamaConfig(), 'model.');
    tensors['model.norm.weight']!.dtype = 'i8';
    expect(failure(llamaConfig(), tensors)).toMatchObject({ code: 'WT_DTYPE', details: { found: 'i8' } });
  });

  it('refuses tensors that belong to no weight, such as a layer more than the configuration has', () => {
    const error = failure(llamaConfig({ numLayers: 1 }), completeTensors(llamaConfig(), 'model.'));
    expect(error.code).toBe('WT_UNEXPECTED');
    expect(error.details).toMatchObject({
      tensor: 'model.layers.1.input_layernorm.weight',
      found: '9 such tensors of 20',
    });
  });
});
