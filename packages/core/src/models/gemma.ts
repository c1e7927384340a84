import type { Architecture } from './architecture.ts';
import { gatedDecoderWeights, llama, separate } from './llama.ts';

/** GemmaForCausalLM: Llama's decoder with scaled embeddings, GELU, and norms that multiply by 1 + weight. */
export const gemma: Architecture = { ...llama, name: 'GemmaForCausalLM' };

/** Gemma2ForCausalLM: attention and MLP are normalised at both ends, scores and logits capped. */
export const gemma2: Architecture = {
  ...gemma,
  name: 'Gemma2ForCausalLM',
  style: config => ({ ...gemma.style(config), norms: 'both' }),
  weights: config =>
    gatedDecoderWeights(config, separate, {
      attentionNorm: 'input_layernorm',
      attentionOutNorm: 'post_attention_layernorm',
      mlpNorm: 'pre_feedforward_layernorm',
      mlpOutNorm: 'post_feedforward_layernorm',
    }),
};

/** Gemma3ForCausalLM: the same with norms of query and key heads, and two rotary bases. */
export const gemma3: Architecture = { ...gemma2, name: 'Gemma3ForCausalLM' };
