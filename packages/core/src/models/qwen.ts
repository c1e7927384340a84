import type { Architecture } from './architecture.ts';
import { llama } from './llama.ts';

/** Qwen2ForCausalLM, of Qwen2 and Qwen2.5: Llama's decoder with biases on queries, keys and values. */
export const qwen2: Architecture = { ...llama, name: 'Qwen2ForCausalLM' };

/** Qwen3ForCausalLM: Llama's decoder with RMS norms of query and key heads. */
export const qwen3: Architecture = { ...llama, name: 'Qwen3ForCausalLM' };
