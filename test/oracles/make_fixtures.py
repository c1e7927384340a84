"""Writes test/fixtures/models: small random checkpoints of model variants, each with the float64 logits of the oracle.

    python3 make_fixtures.py OUT [NAME ...]        (Python 3, PyTorch 1.13 or newer; deterministic)
"""
import json
import os
import struct
import sys

import torch

import architectures
import mixtures
import oracle

LLAMA = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=32, intermediate_size=56, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=8, vocab_size=71, max_position_embeddings=64, rms_norm_eps=1e-5,
             rope_theta=10000.0, rope_scaling=None, hidden_act="silu", attention_bias=False, mlp_bias=False, tie_word_embeddings=True,
             bos_token_id=1, eos_token_id=2, torch_dtype="float32")
OPT = dict(architectures=["OPTForCausalLM"], model_type="opt", hidden_size=32, word_embed_proj_dim=32, ffn_dim=56, num_hidden_layers=2,
           num_attention_heads=4, vocab_size=71, max_position_embeddings=64, do_layer_norm_before=True, activation_function="relu",
           enable_bias=True, layer_norm_elementwise_affine=True, tie_word_embeddings=True, bos_token_id=2, eos_token_id=2,
           torch_dtype="float32")
QWEN2 = dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_size=32, intermediate_size=56, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, head_dim=8, vocab_size=71, max_position_embeddings=64, rms_norm_eps=1e-6,
             rope_theta=1000000.0, rope_scaling=None, hidden_act="silu", max_window_layers=2, sliding_window=16, use_sliding_window=False,
             tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, torch_dtype="bfloat16")
QWEN3 = {**QWEN2, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16, "attention_bias": False, "sliding_window": None}

GATED = dict(hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=71,
             max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, hidden_act="silu", tie_word_embeddings=False, bos_token_id=1,
             eos_token_id=2, torch_dtype="float32")
MISTRAL = {**GATED, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 12, "sliding_window": 11, "torch_dtype": "bfloat16"}
SMOLLM3 = {**GATED, "architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "head_dim": 8, "num_hidden_layers": 4, "intermediate_size": 40,
           "no_rope_layers": [1, 1, 1, 0], "rope_theta": 5e6, "sliding_window": None, "use_sliding_window": False, "tie_word_embeddings": True,
           "torch_dtype": "float16"}
PHI3 = {**GATED, "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "original_max_position_embeddings": 8,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.1, 1.3], "long_factor": [1.2, 2.5, 6.0]}, "partial_rotary_factor": 0.75,
        "sliding_window": 23, "torch_dtype": "float16"}
GPT2 = dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", n_embd=32, n_head=4, n_layer=2, n_inner=None, n_positions=64, vocab_size=71,
            layer_norm_epsilon=1e-5, activation_function="gelu_new", tie_word_embeddings=True, bos_token_id=2, eos_token_id=2, torch_dtype="float32")
NEOX = dict(architectures=["GPTNeoXForCausalLM"], model_type="gpt_neox", hidden_size=32, intermediate_size=56, num_hidden_layers=2,
            num_attention_heads=4, vocab_size=71, max_position_embeddings=64, layer_norm_eps=1e-5, hidden_act="gelu", rotary_pct=0.5,
            rotary_emb_base=5000, use_parallel_residual=True, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, torch_dtype="float16")

GEMMA = {**GATED, "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "head_dim": 12, "num_key_value_heads": 1, "hidden_act": "gelu",
         "hidden_activation": None, "tie_word_embeddings": True, "torch_dtype": "float16"}
GEMMA2 = {**GEMMA, "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "num_key_value_heads": 2, "hidden_activation": "gelu_pytorch_tanh",
          "query_pre_attn_scalar": 20, "sliding_window": 9, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 4.0, "torch_dtype": "bfloat16"}
GEMMA3 = {**GEMMA2, "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 3, "intermediate_size": 40,
          "sliding_window_pattern": 3, "rope_theta": 500000.0, "rope_local_base_freq": 300.0, "rope_scaling": {"rope_type": "linear", "factor": 2.0},
          "attn_logit_softcapping": None, "final_logit_softcapping": None}
OLMO2 = {**GATED, "architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", "rope_theta": 500000.0, "attention_bias": False, "torch_dtype": "float32"}

MIXTRAL = {**LLAMA, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "intermediate_size": 20, "num_local_experts": 4, "num_experts_per_tok": 2,
           "sliding_window": None, "router_aux_loss_coef": 0.02, "output_router_logits": False, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
QWEN3_MOE = {**QWEN3, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "head_dim": 8, "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 12,
             "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [], "router_aux_loss_coef": 0.001, "tie_word_embeddings": False}

# architecture: (forward, shapes, prefix of the class); the oracles of the older ones expect names with the prefix
ARCHITECTURES = {
    "LlamaForCausalLM": (oracle.llama, oracle.llama_shapes, "model."),
    "Qwen2ForCausalLM": (oracle.llama, oracle.llama_shapes, "model."),
    "Qwen3ForCausalLM": (oracle.llama, oracle.llama_shapes, "model."),
    "OPTForCausalLM": (oracle.opt, oracle.opt_shapes, "model.decoder."),
    "MistralForCausalLM": (architectures.mistral, architectures.mistral_shapes, None),
    "SmolLM3ForCausalLM": (architectures.mistral, architectures.mistral_shapes, None),
    "Phi3ForCausalLM": (architectures.phi3, architectures.phi3_shapes, None),
    "GPT2LMHeadModel": (architectures.gpt2, architectures.gpt2_shapes, None),
    "GemmaForCausalLM": (architectures.gemma, architectures.gemma_shapes, None),
    "Gemma2ForCausalLM": (architectures.gemma, architectures.gemma_shapes, None),
    "Gemma3ForCausalLM": (architectures.gemma, architectures.gemma_shapes, None),
    "Olmo2ForCausalLM": (architectures.olmo2, architectures.olmo2_shapes, None),
    "MixtralForCausalLM": (mixtures.forward, mixtures.shapes, "model."),
    "Qwen3MoeForCausalLM": (mixtures.forward, mixtures.shapes, "model."),
    "GPTNeoXForCausalLM": (architectures.gpt_neox, architectures.gpt_neox_shapes, None),
}

# name: (base, changes to it, file format, shards, prefix in place of the class's own)
FIXTURES = {
    "llama-linear-rope": (LLAMA, dict(rope_scaling={"type": "linear", "factor": 4.0}, tie_word_embeddings=False), "safetensors", 1, "model."),
    "llama-dynamic-rope": (LLAMA, dict(rope_scaling={"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 24}, torch_dtype="float16"), "safetensors", 1, "model."),
    "llama-llama3-rope": (LLAMA, dict(rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
                                      rope_theta=500.0, head_dim=16, num_key_value_heads=4, torch_dtype="bfloat16"), "bin", 1, "model."),
    "llama-biases": (LLAMA, dict(attention_bias=True, mlp_bias=True, head_dim=32, num_attention_heads=3, num_key_value_heads=1,
                                 tie_word_embeddings=False, torch_dtype="bfloat16"), "safetensors", 3, ""),
    "opt-post-norm": (OPT, dict(do_layer_norm_before=False, word_embed_proj_dim=16), "bin", 1, "decoder."),
    "opt-separate-head": (OPT, dict(tie_word_embeddings=False, activation_function="gelu", word_embed_proj_dim=48, torch_dtype="bfloat16"), "bin", 2, "model.decoder."),
    "opt-plain": (OPT, dict(enable_bias=False, layer_norm_elementwise_affine=False, _remove_final_layer_norm=True, torch_dtype="float16"), "safetensors", 2, "model.decoder."),
    "qwen2-tied": (QWEN2, {}, "safetensors", 1, "model."),
    "qwen2-separate-head": (QWEN2, dict(num_attention_heads=6, num_key_value_heads=1, head_dim=12, tie_word_embeddings=False, torch_dtype="float16"), "safetensors", 2, "model."),
    "qwen3-tied": (QWEN3, {}, "safetensors", 1, "model."),
    "qwen3-yarn": (QWEN3, dict(rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}, rope_theta=200.0, torch_dtype="float16"), "safetensors", 1, "model."),
    "qwen3-separate-head": (QWEN3, dict(num_attention_heads=3, num_key_value_heads=3, head_dim=20, attention_bias=True, tie_word_embeddings=False, torch_dtype="float32"), "bin", 1, "model."),
    "mistral-window": (MISTRAL, {}, "safetensors", 1, "model."),
    "smollm3": (SMOLLM3, {}, "safetensors", 1, "model."),
    "phi3-long": (PHI3, {}, "safetensors", 1, "model."),
    "phi3-short": (PHI3, dict(original_max_position_embeddings=48, sliding_window=None, num_key_value_heads=4, tie_word_embeddings=True), "safetensors", 1, "model."),
    "gpt2": (GPT2, {}, "safetensors", 1, ""),
    "gpt2-sharded": (GPT2, dict(n_inner=56, tie_word_embeddings=False, torch_dtype="bfloat16"), "safetensors", 2, "transformer."),
    "gpt-neox-parallel": (NEOX, {}, "safetensors", 1, "gpt_neox."),
    "gpt-neox-serial": (NEOX, dict(use_parallel_residual=False, rotary_pct=0.25, tie_word_embeddings=True, torch_dtype="bfloat16"), "safetensors", 1, "gpt_neox."),
    "gemma": (GEMMA, {}, "safetensors", 1, "model."),
    "gemma2": (GEMMA2, {}, "safetensors", 1, "model."),
    "gemma3": (GEMMA3, {}, "safetensors", 1, "model."),
    "mixtral": (MIXTRAL, {}, "safetensors", 1, "model."),
    "qwen3-moe": (QWEN3_MOE, {}, "safetensors", 1, "model."),
    "qwen3-moe-shares": (QWEN3_MOE, dict(norm_topk_prob=False, num_experts_per_tok=1, tie_word_embeddings=True, torch_dtype="float16"), "safetensors", 2, "model."),
    "olmo2": (OLMO2, {}, "safetensors", 1, "model."),
}
PROMPT_TOKENS = 45


def random_weights(shapes, dtype, generator, adds_one=False):
    """Values in the stored dtype. Scales differ from 1 and biases from 0, so that leaving one out is seen."""
    weights = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 1:
            value = 1 + 0.2 * noise if name.endswith("weight") else 0.3 * noise
            if adds_one:
                value = value - 1
        else:
            is_table = "embed" in name or name in ("wte.weight", "wpe.weight")
            value = noise * (0.7 if is_table else 1.3 / shape[1] ** 0.5)
        weights[name] = value.to(dtype)
    return weights


def rename(weights, own, prefix):
    if own is None:
        return {name if name.startswith(HEADS) else prefix + name: value for name, value in weights.items()}
    return {prefix + name[len(own):] if name.startswith(own) else name: value for name, value in weights.items()}


HEADS = ("lm_head.", "embed_out.")


def split(weights, shards):
    names = list(weights)
    size = -(-len(names) // shards)
    return [{name: weights[name] for name in names[at:at + size]} for at in range(0, len(names), size)]


def save_safetensors(weights, path):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in weights.items():
        raw = bytes(value.contiguous().view(torch.int16 if value.element_size() == 2 else torch.int32).numpy().tobytes())
        kind = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[value.dtype]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def save(weights, folder, kind, shards):
    stem, ending, write = ("model", "safetensors", save_safetensors) if kind == "safetensors" else ("pytorch_model", "bin", torch.save)
    if shards == 1:
        write(weights, f"{folder}/{stem}.{ending}")
        return
    weight_map, total = {}, 0
    parts = split(weights, shards)
    for i, part in enumerate(parts):
        file = f"{stem}-{i + 1:05}-of-{len(parts):05}.{ending}"
        write(part, f"{folder}/{file}")
        weight_map.update({name: file for name in part})
        total += sum(value.numel() * value.element_size() for value in part.values())
    with open(f"{folder}/{stem}.{ending}.index.json", "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file, indent=1)


def make(name, out):
    base, changes, kind, shards, prefix = FIXTURES[name]
    config = {**base, **changes}
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    forward, shapes_of, own = ARCHITECTURES[config["architectures"][0]]
    weights = random_weights(shapes_of(config), getattr(torch, config["torch_dtype"]), generator, config["architectures"][0].startswith("Gemma"))
    ids = torch.randint(0, config["vocab_size"], (PROMPT_TOKENS,), generator=generator)
    logits = forward(config, {key: value.double() for key, value in weights.items()}, ids)
    folder = f"{out}/{name}"
    os.makedirs(folder, exist_ok=True)
    save(rename(weights, own, prefix), folder, kind, shards)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)
    with open(f"{folder}/logits.json", "w") as file:
        rows = ",\n".join("[" + ",".join(f"{value:.8g}" for value in row) + "]" for row in logits.tolist())
        file.write(f'{{"tokenIds": {ids.tolist()}, "logits": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    for fixture in sys.argv[2:] or FIXTURES:
        make(fixture, sys.argv[1])
