"""Further architectures in PyTorch float64, each written from its published definition. Like oracle.py, of which the helpers are
taken, nothing here is shared with the engine. Weights are a state dict under Hugging Face's names, without the class's prefix."""
import math

import torch
import torch.nn.functional as F

from oracle import linear, merge_heads, rms_norm, rotate, split_heads


class Shapes(dict):
    """Shapes of the tensors of a checkpoint by name."""

    def dense(self, name, rows, columns, bias=False):
        self[f"{name}.weight"] = (rows, columns)
        if bias:
            self[f"{name}.bias"] = (rows,)

    def norm(self, name, width, bias=False):
        self[f"{name}.weight"] = (width,)
        if bias:
            self[f"{name}.bias"] = (width,)


def attend(q, k, v, scale, window=None, cap=None):
    """q [heads, length, dim]; k, v [kv heads, length, dim]. A query sees itself and what came before, `window` positions in all."""
    group = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
    scores = q @ k.transpose(1, 2) * scale
    if cap:
        scores = cap * torch.tanh(scores / cap)
    distance = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])[None, :]
    hidden = (distance < 0) | (distance >= (window or q.shape[1]))
    return scores.masked_fill(hidden, -math.inf).softmax(-1) @ v


def tables(inv_freq, length, amplitude=1.0):
    """cos and sin [length, 2 * pairs]."""
    angles = torch.outer(torch.arange(length, dtype=torch.float64), inv_freq)
    angles = torch.cat((angles, angles), -1)
    return amplitude * angles.cos(), amplitude * angles.sin()


def plain_frequencies(dim, base):
    return 1.0 / base ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def rotate_part(x, cos, sin):
    """Only the first elements of a head turn."""
    turned = cos.shape[-1]
    return torch.cat((rotate(x[..., :turned], cos, sin), x[..., turned:]), -1)


def layer_norm(x, weights, name, eps):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)


def heads_of(y, weights, attention, config):
    q = split_heads(linear(y, weights, f"{attention}.q_proj"), config["num_attention_heads"])
    k = split_heads(linear(y, weights, f"{attention}.k_proj"), config["num_key_value_heads"])
    v = split_heads(linear(y, weights, f"{attention}.v_proj"), config["num_key_value_heads"])
    return q, k, v


def attention_shapes(shapes, attention, config, bias=False):
    h, d = config["hidden_size"], config["head_dim"]
    shapes.dense(f"{attention}.q_proj", config["num_attention_heads"] * d, h, bias)
    for name in ("k_proj", "v_proj"):
        shapes.dense(f"{attention}.{name}", config["num_key_value_heads"] * d, h, bias)
    shapes.dense(f"{attention}.o_proj", h, config["num_attention_heads"] * d, bias)


def gated_mlp_shapes(shapes, mlp, config, bias=False):
    h, m = config["hidden_size"], config["intermediate_size"]
    shapes.dense(f"{mlp}.gate_proj", m, h, bias)
    shapes.dense(f"{mlp}.up_proj", m, h, bias)
    shapes.dense(f"{mlp}.down_proj", h, m, bias)


def gated_mlp(y, weights, mlp, activation=F.silu):
    gated = activation(linear(y, weights, f"{mlp}.gate_proj")) * linear(y, weights, f"{mlp}.up_proj")
    return linear(gated, weights, f"{mlp}.down_proj")


def head_shapes(shapes, config, table="embed_tokens", head="lm_head"):
    if not config["tie_word_embeddings"]:
        shapes.dense(head, *shapes[f"{table}.weight"])


def logits_of(x, weights, config, table="embed_tokens", head="lm_head"):
    return x @ weights[f"{table if config['tie_word_embeddings'] else head}.weight"].T


# Mistral (Jiang et al. 2023), SmolLM3: Llama with windows, or with layers that have no positions --------------------------


def mistral(config, weights, ids):
    eps, d = config["rms_norm_eps"], config["head_dim"]
    cos, sin = tables(plain_frequencies(d, config["rope_theta"]), len(ids))
    rotary = config.get("no_rope_layers") or [1] * config["num_hidden_layers"]
    window = config.get("sliding_window")
    x = weights["embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        q, k, v = heads_of(rms_norm(x, weights[f"{layer}.input_layernorm.weight"], eps), weights, f"{layer}.self_attn", config)
        if rotary[i]:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        x = x + linear(merge_heads(attend(q, k, v, d ** -0.5, window)), weights, f"{layer}.self_attn.o_proj")
        x = x + gated_mlp(rms_norm(x, weights[f"{layer}.post_attention_layernorm.weight"], eps), weights, f"{layer}.mlp")
    return logits_of(rms_norm(x, weights["norm.weight"], eps), weights, config)


def mistral_shapes(config):
    h, shapes = config["hidden_size"], Shapes()
    shapes.dense("embed_tokens", config["vocab_size"], h)
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        shapes.norm(f"{layer}.input_layernorm", h)
        attention_shapes(shapes, f"{layer}.self_attn", config)
        shapes.norm(f"{layer}.post_attention_layernorm", h)
        gated_mlp_shapes(shapes, f"{layer}.mlp", config)
    shapes.norm("norm", h)
    head_shapes(shapes, config)
    return shapes


# Phi-3 (Abdin et al. 2024): fused projections, long RoPE (Ding et al. 2024) on a part of each head ------------------------


def phi3(config, weights, ids):
    eps, heads, kv = config["rms_norm_eps"], config["num_attention_heads"], config["num_key_value_heads"]
    d = config["hidden_size"] // heads
    dim = int(d * config.get("partial_rotary_factor", 1.0))
    inv_freq, amplitude = plain_frequencies(dim, config["rope_theta"]), 1.0
    if config.get("rope_scaling"):
        original = config["original_max_position_embeddings"]
        # A model served up to its whole length takes the long factors from the first position on.
        factors = config["rope_scaling"]["long_factor" if len(ids) > original else "short_factor"]
        inv_freq = inv_freq / torch.tensor(factors, dtype=torch.float64)
        amplitude = math.sqrt(1 + math.log(config["max_position_embeddings"] / original) / math.log(original))
    cos, sin = tables(inv_freq, len(ids), amplitude)
    x = weights["embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        y = rms_norm(x, weights[f"{layer}.input_layernorm.weight"], eps)
        q, k, v = linear(y, weights, f"{layer}.self_attn.qkv_proj").split([heads * d, kv * d, kv * d], -1)
        q, k, v = split_heads(q, heads), split_heads(k, kv), split_heads(v, kv)
        mixed = attend(rotate_part(q, cos, sin), rotate_part(k, cos, sin), v, d ** -0.5, config.get("sliding_window"))
        x = x + linear(merge_heads(mixed), weights, f"{layer}.self_attn.o_proj")
        gate, up = linear(rms_norm(x, weights[f"{layer}.post_attention_layernorm.weight"], eps), weights, f"{layer}.mlp.gate_up_proj").chunk(2, -1)
        x = x + linear(up * F.silu(gate), weights, f"{layer}.mlp.down_proj")
    return logits_of(rms_norm(x, weights["norm.weight"], eps), weights, config)


def phi3_shapes(config):
    h, m, heads, kv = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"], config["num_key_value_heads"]
    d, shapes = h // heads, Shapes()
    shapes.dense("embed_tokens", config["vocab_size"], h)
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        shapes.norm(f"{layer}.input_layernorm", h)
        shapes.dense(f"{layer}.self_attn.qkv_proj", (heads + 2 * kv) * d, h)
        shapes.dense(f"{layer}.self_attn.o_proj", h, heads * d)
        shapes.norm(f"{layer}.post_attention_layernorm", h)
        shapes.dense(f"{layer}.mlp.gate_up_proj", 2 * m, h)
        shapes.dense(f"{layer}.mlp.down_proj", h, m)
    shapes.norm("norm", h)
    head_shapes(shapes, config)
    return shapes


# GPT-2 (Radford et al. 2019): Conv1D stores its weight as [inputs, outputs] ------------------------------------------------


def conv1d(x, weights, name):
    return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu_new(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def gpt2(config, weights, ids):
    eps, heads = config["layer_norm_epsilon"], config["n_head"]
    x = weights["wte.weight"][ids] + weights["wpe.weight"][: len(ids)]
    for i in range(config["n_layer"]):
        layer = f"h.{i}"
        q, k, v = conv1d(layer_norm(x, weights, f"{layer}.ln_1", eps), weights, f"{layer}.attn.c_attn").chunk(3, -1)
        q, k, v = split_heads(q, heads), split_heads(k, heads), split_heads(v, heads)
        x = x + conv1d(merge_heads(attend(q, k, v, q.shape[-1] ** -0.5)), weights, f"{layer}.attn.c_proj")
        inner = gelu_new(conv1d(layer_norm(x, weights, f"{layer}.ln_2", eps), weights, f"{layer}.mlp.c_fc"))
        x = x + conv1d(inner, weights, f"{layer}.mlp.c_proj")
    return logits_of(layer_norm(x, weights, "ln_f", eps), weights, config, "wte")


def gpt2_shapes(config):
    h, shapes = config["n_embd"], Shapes()
    m = config.get("n_inner") or 4 * h

    def conv(name, inputs, outputs):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (inputs, outputs), (outputs,)

    shapes.dense("wte", config["vocab_size"], h)
    shapes.dense("wpe", config["n_positions"], h)
    for i in range(config["n_layer"]):
        layer = f"h.{i}"
        shapes.norm(f"{layer}.ln_1", h, True)
        conv(f"{layer}.attn.c_attn", h, 3 * h)
        conv(f"{layer}.attn.c_proj", h, h)
        shapes.norm(f"{layer}.ln_2", h, True)
        conv(f"{layer}.mlp.c_fc", h, m)
        conv(f"{layer}.mlp.c_proj", m, h)
    shapes.norm("ln_f", h, True)
    head_shapes(shapes, config, "wte")
    return shapes


# GPT-NeoX (Black et al. 2022), Pythia ------------------------------------------------------------------------------------


def gpt_neox(config, weights, ids):
    eps, heads = config["layer_norm_eps"], config["num_attention_heads"]
    d = config["hidden_size"] // heads
    cos, sin = tables(plain_frequencies(int(d * config["rotary_pct"]), config["rotary_emb_base"]), len(ids))
    x = weights["embed_in.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        qkv = linear(layer_norm(x, weights, f"{layer}.input_layernorm", eps), weights, f"{layer}.attention.query_key_value")
        q, k, v = qkv.view(len(ids), heads, 3 * d).transpose(0, 1).chunk(3, -1)
        mixed = attend(rotate_part(q, cos, sin), rotate_part(k, cos, sin), v, d ** -0.5)
        attended = linear(merge_heads(mixed), weights, f"{layer}.attention.dense")
        read = x if config["use_parallel_residual"] else x + attended
        inner = F.gelu(linear(layer_norm(read, weights, f"{layer}.post_attention_layernorm", eps), weights, f"{layer}.mlp.dense_h_to_4h"))
        x = x + attended + linear(inner, weights, f"{layer}.mlp.dense_4h_to_h")
    return logits_of(layer_norm(x, weights, "final_layer_norm", eps), weights, config, "embed_in", "embed_out")


def gpt_neox_shapes(config):
    h, m, shapes = config["hidden_size"], config["intermediate_size"], Shapes()
    bias = config.get("attention_bias", True)
    shapes.dense("embed_in", config["vocab_size"], h)
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        shapes.norm(f"{layer}.input_layernorm", h, True)
        shapes.norm(f"{layer}.post_attention_layernorm", h, True)
        shapes.dense(f"{layer}.attention.query_key_value", 3 * h, h, bias)
        shapes.dense(f"{layer}.attention.dense", h, h, bias)
        shapes.dense(f"{layer}.mlp.dense_h_to_4h", m, h, True)
        shapes.dense(f"{layer}.mlp.dense_4h_to_h", h, m, True)
    shapes.norm("final_layer_norm", h, True)
    head_shapes(shapes, config, "embed_in", "embed_out")
    return shapes


# Gemma (2024), Gemma 2 (2024), Gemma 3 (2025) ----------------------------------------------------------------------------


def gemma(config, weights, ids):
    version = config["architectures"][0].removesuffix("ForCausalLM")
    eps, d, h = config["rms_norm_eps"], config["head_dim"], config["hidden_size"]

    def norm(x, name):
        return rms_norm(x, 1 + weights[f"{name}.weight"], eps)

    def gelu_tanh(x):
        return F.gelu(x, approximate="tanh")

    # Trained in the checkpoint's dtype, so the factor is a number of that dtype.
    x = weights["embed_tokens.weight"][ids] * torch.tensor(h ** 0.5).to(getattr(torch, config["torch_dtype"])).double()
    full = tables(plain_frequencies(d, config["rope_theta"]) / (config.get("rope_scaling") or {"factor": 1.0})["factor"], len(ids))
    local = tables(plain_frequencies(d, config.get("rope_local_base_freq", 10000.0)), len(ids))
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        slides = {"Gemma": False, "Gemma2": i % 2 == 0, "Gemma3": (i + 1) % config.get("sliding_window_pattern", 6) != 0}[version]
        cos, sin = local if slides and version == "Gemma3" else full
        q, k, v = heads_of(norm(x, f"{layer}.input_layernorm"), weights, f"{layer}.self_attn", config)
        if version == "Gemma3":
            q, k = norm(q, f"{layer}.self_attn.q_norm"), norm(k, f"{layer}.self_attn.k_norm")
        scale = d ** -0.5 if version == "Gemma" else config["query_pre_attn_scalar"] ** -0.5
        window = config["sliding_window"] if slides else None
        mixed = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, scale, window, config.get("attn_logit_softcapping"))
        attended = linear(merge_heads(mixed), weights, f"{layer}.self_attn.o_proj")
        if version == "Gemma":
            x = x + attended
            x = x + gated_mlp(norm(x, f"{layer}.post_attention_layernorm"), weights, f"{layer}.mlp", gelu_tanh)
            continue
        x = x + norm(attended, f"{layer}.post_attention_layernorm")
        made = gated_mlp(norm(x, f"{layer}.pre_feedforward_layernorm"), weights, f"{layer}.mlp", gelu_tanh)
        x = x + norm(made, f"{layer}.post_feedforward_layernorm")
    logits = logits_of(norm(x, "norm"), weights, config)
    cap = config.get("final_logit_softcapping")
    return cap * torch.tanh(logits / cap) if cap else logits


def gemma_shapes(config):
    h, d, shapes = config["hidden_size"], config["head_dim"], Shapes()
    version = config["architectures"][0].removesuffix("ForCausalLM")
    shapes.dense("embed_tokens", config["vocab_size"], h)
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        shapes.norm(f"{layer}.input_layernorm", h)
        shapes.norm(f"{layer}.post_attention_layernorm", h)
        if version != "Gemma":
            shapes.norm(f"{layer}.pre_feedforward_layernorm", h)
            shapes.norm(f"{layer}.post_feedforward_layernorm", h)
        if version == "Gemma3":
            shapes.norm(f"{layer}.self_attn.q_norm", d)
            shapes.norm(f"{layer}.self_attn.k_norm", d)
        attention_shapes(shapes, f"{layer}.self_attn", config)
        gated_mlp_shapes(shapes, f"{layer}.mlp", config)
    shapes.norm("norm", h)
    head_shapes(shapes, config)
    return shapes


# OLMo 2 (2024) -----------------------------------------------------------------------------------------------------------


def olmo2(config, weights, ids):
    eps, d = config["rms_norm_eps"], config["hidden_size"] // config["num_attention_heads"]
    cos, sin = tables(plain_frequencies(d, config["rope_theta"]), len(ids))
    x = weights["embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        attention = f"{layer}.self_attn"
        q = rms_norm(linear(x, weights, f"{attention}.q_proj"), weights[f"{attention}.q_norm.weight"], eps)
        k = rms_norm(linear(x, weights, f"{attention}.k_proj"), weights[f"{attention}.k_norm.weight"], eps)
        q, k = split_heads(q, config["num_attention_heads"]), split_heads(k, config["num_key_value_heads"])
        v = split_heads(linear(x, weights, f"{attention}.v_proj"), config["num_key_value_heads"])
        mixed = merge_heads(attend(rotate(q, cos, sin), rotate(k, cos, sin), v, d ** -0.5))
        x = x + rms_norm(linear(mixed, weights, f"{attention}.o_proj"), weights[f"{layer}.post_attention_layernorm.weight"], eps)
        x = x + rms_norm(gated_mlp(x, weights, f"{layer}.mlp"), weights[f"{layer}.post_feedforward_layernorm.weight"], eps)
    return logits_of(rms_norm(x, weights["norm.weight"], eps), weights, config)


def olmo2_shapes(config):
    h, shapes = config["hidden_size"], Shapes()
    d = h // config["num_attention_heads"]
    shapes.dense("embed_tokens", config["vocab_size"], h)
    for i in range(config["num_hidden_layers"]):
        layer = f"layers.{i}"
        attention_shapes(shapes, f"{layer}.self_attn", {**config, "head_dim": d})
        shapes.norm(f"{layer}.self_attn.q_norm", config["num_attention_heads"] * d)
        shapes.norm(f"{layer}.self_attn.k_norm", config["num_key_value_heads"] * d)
        shapes.norm(f"{layer}.post_attention_layernorm", h)
        gated_mlp_shapes(shapes, f"{layer}.mlp", config)
        shapes.norm(f"{layer}.post_feedforward_layernorm", h)
    shapes.norm("norm", h)
    head_shapes(shapes, config)
    return shapes
