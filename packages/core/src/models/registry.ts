import type { Architecture } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import { gptNeoX } from './gpt-neox.ts';
import { gpt2 } from './gpt2.ts';
import { llama, mistral, phi3, smolLm3 } from './llama.ts';
import { opt } from './opt.ts';
import { qwen2, qwen3 } from './qwen.ts';

const architectures: Readonly<Record<ModelConfig['architecture'], Architecture>> = {
  GPT2LMHeadModel: gpt2,
  GPTNeoXForCausalLM: gptNeoX,
  LlamaForCausalLM: llama,
  MistralForCausalLM: mistral,
  OPTForCausalLM: opt,
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
