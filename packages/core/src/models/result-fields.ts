import { JsonFloat, type JsonValue } from '../weights/json-tree.ts';
import type { ConfigFields } from './config-fields.ts';

/**
 * Fields of published configurations that change what a model computes, with the values that change nothing. An architecture
 * whose parser does not read such a field must not have it at another value.
 */
const neutralValues: Readonly<Record<string, readonly (boolean | number | string)[]>> = {
  alibi: [false],
  attention_chunk_size: [],
  attention_multiplier: [],
  attn_logit_softcapping: [],
  attn_temperature_tuning: [false, 0],
  clip_qkv: [],
  embedding_multiplier: [1],
  final_logit_softcapping: [],
  first_k_dense_replace: [],
  is_causal: [true],
  kv_lora_rank: [],
  layer_types: [],
  logit_scale: [1],
  logits_scaling: [1],
  mlp_bias: [false],
  mlp_only_layers: [],
  moe_intermediate_size: [],
  n_routed_experts: [0],
  no_rope_layers: [],
  num_experts: [0, 1],
  num_local_experts: [0, 1],
  parallel_attn: [false],
  parallel_residual: [false],
  partial_rotary_factor: [1],
  position_embedding_type: ['absolute', 'rope'],
  qk_layernorm: [false],
  query_pre_attn_scalar: [],
  residual_multiplier: [1],
  rope_local_base_freq: [],
  scale_attn_by_inverse_layer_idx: [false],
  scale_depth: [],
  scale_emb: [1],
  sliding_window: [],
  use_alibi: [false],
  use_bidirectional_attention: [false],
  use_parallel_residual: [false],
  use_qk_norm: [false],
  use_sliding_window: [false],
};

/** Throws ModelFormatError CF_UNSUPPORTED for a field that changes the result and that the architecture's parser has not read. */
export function refuseUnread(fields: ConfigFields): void {
  for (const [name, neutral] of Object.entries(neutralValues)) {
    if (fields.wasRead(name) || !fields.has(name)) continue;
    const value = plain(fields.get(name));
    if (neutral.some(other => other === value) || isNeutralList(name, value)) continue;
    const expected = neutral.length === 0 ? 'no such field' : neutral.join(' or ');
    throw fields.bad(name, `${expected}, or null: this architecture does not have it`, 'CF_UNSUPPORTED');
  }
}

function isNeutralList(name: string, value: JsonValue | undefined): boolean {
  return name === 'layer_types' && Array.isArray(value) && value.every(type => type === 'full_attention');
}

function plain(value: JsonValue | undefined): JsonValue | undefined {
  return value instanceof JsonFloat ? value.value : value;
}
