import type { Architecture } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import { llama } from './llama.ts';
import { opt } from './opt.ts';
import { qwen2, qwen3 } from './qwen.ts';

const architectures: Readonly<Record<ModelConfig['architecture'], Architecture>> = {
  LlamaForCausalLM: llama,
  OPTForCausalLM: opt,
  Qwen2ForCausalLM: qwen2,
  Qwen3ForCausalLM: qwen3,
};

/** Names that `architectures` of a config.json may hold. */
export const supportedArchitectures = Object.keys(architectures) as readonly ModelConfig['architecture'][];

export function architectureOf(config: ModelConfig): Architecture {
  return architectures[config.architecture];
}
