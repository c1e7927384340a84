import type { Architecture } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import { gemma, gemma2, gemma3 } from './gemma.ts';
import { gptNeoX } from './gpt-neox.ts';
import { gpt2 } from './gpt2.ts';
import { llama, mistral, olmo2, phi3, smolLm3 } from './llama.ts';
import { mixtral, qwen3Moe } from './mixtures.ts';
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
  MixtralForCausalLM: mixtral,
  OPTForCausalLM: opt,
  Olmo2ForCausalLM: olmo2,
  Phi3ForCausalLM: phi3,
  Qwen2ForCausalLM: qwen2,
  Qwen3ForCausalLM: qwen3,
  Qwen3MoeForCausalLM: qwen3Moe,
  SmolLM3ForCausalLM: smolLm3,
};

/** Names that `architectures` of a config.json may hold. */
export const supportedArchitectures = Object.keys(architectures) as readonly ModelConfig['architecture'][];

/** Of a model that makes embeddings, without the head, which its checkpoint may have all the same. */
export function architectureOf(config: ModelConfig): Architecture {
  const architecture = architectures[config.architecture];
  return config.pooling === null ? architecture : headless(architecture);
}

function headless(architecture: Architecture): Architecture {
  return {
    ...architecture,
    weights: config => architecture.weights(config).filter(({ name }) => name !== 'head.weight'),
    ignores: (name, config) => /(^|\.)(lm_head|embed_out)\.weight$/.test(name) || architecture.ignores(name, config),
  };
}
