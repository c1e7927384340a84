import type { Architecture } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { gptNeoX } from './gpt-neox.ts';
import { gpt2 } from './gpt2.ts';
import { llama, mistral, olmo2, phi3, smolLm3 } from './llama.ts';
import { opt } from './opt.ts';
import { qwen2, qwen3 } from './qwen.ts';

const architectures: Readonly<Record<ModelConfig['architecture'], Architecture>> = {
  GPT2LMHeadModel: gpt2,
  GPTNeoXForCausalLM: gptNeoX,
  Gemma2ForCausalLM: gemma2,
  Gemma3ForCausalLM: gemma3,
  GemmaForCausalLM: gemma,
  LlamaForCausalLM: llama,
  MistralForCausalLM: mistral,
  OPTForCausalLM: opt,
  Olmo2ForCausalLM: olmo2,
  Phi3ForCausalLM: phi3,
  Qwen2ForCausalLM: qwen2,
  Qwen3ForCausalLM: qwen3,
  SmolLM3ForCausalLM: smolLm3,
};

/** Names that `architectures` of a config.json may hold. */
export const supportedArchitectures = Object.keys(architectures) as readonly ModelConfig['architecture'][];

export function architectureOf(config: ModelConfig): Architecture {
  return architectures[config.architecture];
}
