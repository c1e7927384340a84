import type { Architecture } from './architecture.ts';
import type { ModelConfig } from './config.ts';
import { gatedDecoderWeights, llama, separate } from './llama.ts';
import type { ModelWeight, WeightSource } from './model-weights.ts';

/** Where a checkpoint has the experts of a layer. */
interface ExpertNames {
  /** The module of the mixture, in its layer. */
  readonly module: string;
  readonly gate: string;
  readonly up: string;
  readonly down: string;
}

/** MixtralForCausalLM (Jiang et al. 2024): Mistral's decoder, each of whose MLPs is a mixture of experts. */
export const mixtral: Architecture = mixture('MixtralForCausalLM', {
  module: 'block_sparse_moe',
  gate: 'w1',
  up: 'w3',
  down: 'w2',
});

/** Qwen3MoeForCausalLM: the same of Qwen3's decoder. */
export const qwen3Moe: Architecture = mixture('Qwen3MoeForCausalLM', {
  module: 'mlp',
  gate: 'gate_proj',
  up: 'up_proj',
  down: 'down_proj',
});

function mixture(name: Architecture['name'], names: ExpertNames): Architecture {
  const sources = { ...separate, mlp: (layer: string, config: ModelConfig) => expertWeights(layer, config, names) };
  return { ...llama, name, weights: config => gatedDecoderWeights(config, sources) };
}

/** The router [experts, hidden]; the gates and ups of all experts, one below the other; what brings their products back. */
function expertWeights(to: string, config: ModelConfig, { module, gate, up, down }: ExpertNames): ModelWeight[] {
  const { hiddenSize, intermediateSize } = config;
  const { count } = config.experts!;
  const ids = Array.from({ length: count }, (_, id) => id);
  const source = (id: number, part: string): WeightSource => ({
    name: `${to}.${module}.experts.${id}.${part}.weight`,
    shape: [intermediateSize, hiddenSize],
    split: 'intermediate',
  });
  const router = { name: `${to}.${module}.gate.weight`, shape: [count, hiddenSize] };
  return [
    { name: `${to}.router.weight`, shape: router.shape, sources: [router], ops: ['linear'] },
    {
      name: `${to}.expertsUp.weight`,
      shape: [2 * count * intermediateSize, hiddenSize],
      sources: ids.flatMap(id => [source(id, gate), source(id, up)]),
      groups: count,
      ops: ['groupedLinear'],
    },
    {
      name: `${to}.expertsDown.weight`,
      shape: [count * hiddenSize, intermediateSize],
      sources: ids.map(id => ({
        name: `${to}.${module}.experts.${id}.${down}.weight`,
        shape: [hiddenSize, intermediateSize],
      })),
      columnSplit: 'intermediate',
      groups: count,
      ops: ['groupedLinear'],
    },
  ];
}
