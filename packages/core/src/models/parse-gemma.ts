import { decodeFloats, encodeFloats } from '../program/index.ts';
import type { LayerConfig, ModelConfig } from './config.ts';
import type { ConfigFields } from './config-fields.ts';
import { activations, MAX_SIZE, type NoticeListener, parseWindows } from './parse-common.ts';
import { parseGatedDecoder } from './parse-llama.ts';

export function parseGemma(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  return { ...parseCommonGemma(fields, onNotice, 8192, 10_000), architecture: 'GemmaForCausalLM' };
}

/** Every second layer sees a window (Gemma Team 2024). */
export function parseGemma2(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseCommonGemma(fields, onNotice, 8192, 10_000);
  return {
    ...decoder,
    architecture: 'Gemma2ForCausalLM',
    attentionScale: parseScale(fields),
    attentionSoftCap: parseCap(fields, 'attn_logit_softcapping', 50),
    logitSoftCap: parseCap(fields, 'final_logit_softcapping', 30),
    layers: parseWindows(fields, decoder.numLayers, layer => layer % 2 === 0),
  };
}

/** Five layers of six see a window, and turn by a base of their own (Gemma Team 2025). */
export function parseGemma3(fields: ConfigFields, onNotice: NoticeListener): ModelConfig {
  const decoder = parseCommonGemma(fields, onNotice, 131_072, 1e6);
  const pattern = fields.integer('sliding_window_pattern', 1, MAX_SIZE, 6);
  const windows = parseWindows(fields, decoder.numLayers, layer => (layer + 1) % pattern !== 0);
  const localTheta = fields.float('rope_local_base_freq', v => v > 0, 'a number above 0', 10_000);
  return {
    ...decoder,
    architecture: 'Gemma3ForCausalLM',
    qkNorm: 'heads',
    attentionScale: parseScale(fields),
    attentionSoftCap: parseCap(fields, 'attn_logit_softcapping', 0),
    logitSoftCap: parseCap(fields, 'final_logit_softcapping', 0),
    layers: windows?.map(turnLocally) ?? null,
    localRope: { theta: localTheta, rotaryDim: decoder.headDim, scaling: { type: 'none' } },
  };
}

function turnLocally({ window }: LayerConfig): LayerConfig {
  return { window, positions: window > 0 ? 'local' : 'global' };
}

function parseCommonGemma(fields: ConfigFields, onNotice: NoticeListener, maxPositions: number, theta: number) {
  const defaults = { maxPositions, headDim: 256, tied: true, rope: { theta } };
  const decoder = parseGatedDecoder(fields, onNotice, defaults);
  return {
    ...decoder,
    // Files from before hidden_activation say gelu and mean its approximation.
    activation: fields.choice('hidden_activation', activations, 'gelu_pytorch_tanh'),
    // As Hugging Face has it: a number of the checkpoint's dtype.
    embeddingScale: rounded(Math.sqrt(decoder.hiddenSize), decoder.dtype),
    normsAddOne: true,
  };
}

function rounded(value: number, dtype: ModelConfig['dtype']): number {
  return decodeFloats(dtype, encodeFloats(dtype, Float32Array.of(value)))[0]!;
}

function parseScale(fields: ConfigFields): number {
  return fields.float('query_pre_attn_scalar', v => v > 0, 'a number above 0', 256) ** -0.5;
}

/** 0: no cap. */
function parseCap(fields: ConfigFields, name: string, fallback: number): number {
  if (fields.get(name) === null) return 0;
  return fields.float(name, v => v > 0 || v === fallback, 'a number above 0, or null', fallback);
}
