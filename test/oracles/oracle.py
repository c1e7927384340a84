"""LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM and OPTForCausalLM in PyTorch float64, from the published definitions: an oracle for variants that the bundled
checkpoints do not have. Nothing here is shared with the engine. Weights are a state dict under Hugging Face's names."""
import math

import torch
import torch.nn.functional as F


def rms_norm(x, weight, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def linear(x, weights, name):
    bias = weights.get(f"{name}.bias")
    y = x @ weights[f"{name}.weight"].T
    return y if bias is None else y + bias


def causal_attention(q, k, v):
    """q [heads, length, dim]; k, v [kv heads, length, dim]."""
    group = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    hidden = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


def split_heads(x, heads):
    return x.view(x.shape[0], heads, -1).transpose(0, 1)


def merge_heads(x):
    return x.transpose(0, 1).reshape(x.shape[1], -1)


# Llama, Qwen2, Qwen3 -------------------------------------------------------------------------------------------------


def inverse_frequencies(config, length):
    """ROPE_INIT_FUNCTIONS of transformers; `length` is the length of the sequence (dynamic NTK only)."""
    dim, base = config["head_dim"], config["rope_theta"]
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "dynamic":
        original = scaling.get("original_max_position_embeddings", config["max_position_embeddings"])
        seq_len = max(length, original)
        base = base * ((scaling["factor"] * seq_len / original) - (scaling["factor"] - 1)) ** (dim / (dim - 2))
    inv_freq = 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if kind == "linear":
        return inv_freq / scaling["factor"]
    if kind == "yarn":
        return yarn(inv_freq, scaling, dim, base, scaling.get("original_max_position_embeddings", config["max_position_embeddings"]))
    if kind != "llama3":
        return inv_freq
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    out = []
    for f in inv_freq.tolist():
        wavelength = 2 * math.pi / f
        if wavelength < original / high:
            out.append(f)
        elif wavelength > original / low:
            out.append(f / scaling["factor"])
        else:
            smooth = (original / wavelength - low) / (high - low)
            out.append((1 - smooth) * f / scaling["factor"] + smooth * f)
    return torch.tensor(out, dtype=torch.float64)


def yarn(inv_freq, scaling, dim, base, original):
    """Peng et al. 2023, eq. 15 to 17 with the bounds of the authors' code: a ramp over the index of the pair."""
    bounds = [dim * math.log(original / (scaling.get(beta, default) * 2 * math.pi)) / (2 * math.log(base)) for beta, default in (("beta_fast", 32), ("beta_slow", 1))]
    low, high = max(math.floor(bounds[0]), 0), min(math.ceil(bounds[1]), dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    return inv_freq * (1 - ramp) + inv_freq / scaling["factor"] * ramp


def rotary(config, length):
    """cos and sin [length, head_dim]. As when decoding token by token: the row of a position is that of the sequence ending there."""
    angles = torch.stack([p * inverse_frequencies(config, p + 1) for p in range(length)])
    angles = torch.cat((angles, angles), -1)
    scaling = config.get("rope_scaling") or {}
    amplitude = 0.1 * math.log(scaling["factor"]) + 1 if scaling.get("rope_type") == "yarn" else 1.0
    return amplitude * angles.cos(), amplitude * angles.sin()


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def llama(config, weights, ids):
    eps, heads, kv_heads = config["rms_norm_eps"], config["num_attention_heads"], config["num_key_value_heads"]
    cos, sin = rotary(config, len(ids))
    x = weights["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        y = rms_norm(x, weights[f"{layer}.input_layernorm.weight"], eps)
        q = split_heads(linear(y, weights, f"{layer}.self_attn.q_proj"), heads)
        k = split_heads(linear(y, weights, f"{layer}.self_attn.k_proj"), kv_heads)
        v = split_heads(linear(y, weights, f"{layer}.self_attn.v_proj"), kv_heads)
        if config["architectures"] == ["Qwen3ForCausalLM"]:
            q = rms_norm(q, weights[f"{layer}.self_attn.q_norm.weight"], eps)
            k = rms_norm(k, weights[f"{layer}.self_attn.k_norm.weight"], eps)
        mixed = causal_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        x = x + linear(merge_heads(mixed), weights, f"{layer}.self_attn.o_proj")
        y = rms_norm(x, weights[f"{layer}.post_attention_layernorm.weight"], eps)
        gate, up = linear(y, weights, f"{layer}.mlp.gate_proj"), linear(y, weights, f"{layer}.mlp.up_proj")
        x = x + linear(F.silu(gate) * up, weights, f"{layer}.mlp.down_proj")
    x = rms_norm(x, weights["model.norm.weight"], eps)
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return x @ weights[head].T


def llama_shapes(config):
    h, m, d = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], h)}

    def dense(name, rows, columns, bias):
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    for i in range(config["num_hidden_layers"]):
        layer, bias = f"model.layers.{i}", config.get("attention_bias", False)
        is_qwen2, is_qwen3 = (config["architectures"] == [f"Qwen{n}ForCausalLM"] for n in (2, 3))
        shapes[f"{layer}.input_layernorm.weight"] = (h,)
        dense(f"{layer}.self_attn.q_proj", q, h, bias or is_qwen2)
        dense(f"{layer}.self_attn.k_proj", kv, h, bias or is_qwen2)
        dense(f"{layer}.self_attn.v_proj", kv, h, bias or is_qwen2)
        if is_qwen3:
            shapes[f"{layer}.self_attn.q_norm.weight"] = shapes[f"{layer}.self_attn.k_norm.weight"] = (d,)
        dense(f"{layer}.self_attn.o_proj", h, q, bias)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (h,)
        for name, rows, columns in (("gate", m, h), ("up", m, h), ("down", h, m)):
            dense(f"{layer}.mlp.{name}_proj", rows, columns, config.get("mlp_bias", False))
    shapes["model.norm.weight"] = (h,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], h)
    return shapes


# OPT -----------------------------------------------------------------------------------------------------------------


def layer_norm(x, weights, name):
    return F.layer_norm(x, x.shape[-1:], weights.get(f"{name}.weight"), weights.get(f"{name}.bias"), 1e-5)


def opt(config, weights, ids):
    heads, before = config["num_attention_heads"], config["do_layer_norm_before"]
    activation = {"relu": F.relu, "gelu": F.gelu}[config["activation_function"]]
    root = "model.decoder"
    x = weights[f"{root}.embed_tokens.weight"][ids]
    if config["word_embed_proj_dim"] != config["hidden_size"]:
        x = linear(x, weights, f"{root}.project_in")
    x = x + weights[f"{root}.embed_positions.weight"][torch.arange(len(ids)) + 2]
    for i in range(config["num_hidden_layers"]):
        layer = f"{root}.layers.{i}"
        y = layer_norm(x, weights, f"{layer}.self_attn_layer_norm") if before else x
        q, k, v = (split_heads(linear(y, weights, f"{layer}.self_attn.{p}_proj"), heads) for p in "qkv")
        x = x + linear(merge_heads(causal_attention(q, k, v)), weights, f"{layer}.self_attn.out_proj")
        x = x if before else layer_norm(x, weights, f"{layer}.self_attn_layer_norm")
        y = layer_norm(x, weights, f"{layer}.final_layer_norm") if before else x
        x = x + linear(activation(linear(y, weights, f"{layer}.fc1")), weights, f"{layer}.fc2")
        x = x if before else layer_norm(x, weights, f"{layer}.final_layer_norm")
    if before and not config.get("_remove_final_layer_norm", False):
        x = layer_norm(x, weights, f"{root}.final_layer_norm")
    if config["word_embed_proj_dim"] != config["hidden_size"]:
        x = linear(x, weights, f"{root}.project_out")
    head = f"{root}.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    return x @ weights[head].T


def opt_shapes(config):
    h, m, p = config["hidden_size"], config["ffn_dim"], config["word_embed_proj_dim"]
    root, bias = "model.decoder", config["enable_bias"]
    shapes = {f"{root}.embed_tokens.weight": (config["vocab_size"], p), f"{root}.embed_positions.weight": (config["max_position_embeddings"] + 2, h)}

    def dense(name, rows, columns, with_bias):
        shapes[f"{name}.weight"] = (rows, columns)
        if with_bias:
            shapes[f"{name}.bias"] = (rows,)

    def norm(name):
        if config["layer_norm_elementwise_affine"]:
            shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (h,)

    if p != h:
        dense(f"{root}.project_in", h, p, False)
        dense(f"{root}.project_out", p, h, False)
    for i in range(config["num_hidden_layers"]):
        layer = f"{root}.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            dense(f"{layer}.self_attn.{name}", h, h, bias)
        norm(f"{layer}.self_attn_layer_norm")
        dense(f"{layer}.fc1", m, h, bias)
        dense(f"{layer}.fc2", h, m, bias)
        norm(f"{layer}.final_layer_norm")
    if config["do_layer_norm_before"] and not config.get("_remove_final_layer_norm", False):
        norm(f"{root}.final_layer_norm")
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], p)
    return shapes
