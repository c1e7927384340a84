"""Forward passes of mixtures of experts, in float64, one token at a time: Mixtral and Qwen3-MoE."""
import torch
import torch.nn.functional as F

import oracle

MODULES = {"MixtralForCausalLM": ("block_sparse_moe", "w1", "w3", "w2"), "Qwen3MoeForCausalLM": ("mlp", "gate_proj", "up_proj", "down_proj")}


def sizes(config):
    experts = config.get("num_local_experts") or config.get("num_experts")
    return experts, config["num_experts_per_tok"], config.get("moe_intermediate_size") or config["intermediate_size"]


def mixture(x, weights, layer, config):
    kind = config["architectures"][0]
    module, gate, up, down = MODULES[kind]
    _, chosen, _ = sizes(config)
    shares = F.softmax(x @ weights[f"{layer}.{module}.gate.weight"].T, -1)
    out = torch.zeros_like(x)
    for t in range(len(x)):
        best, ids = torch.topk(shares[t], chosen)
        if kind == "MixtralForCausalLM" or config["norm_topk_prob"]:
            best = best / best.sum()
        for share, expert in zip(best, ids.tolist()):
            part = lambda name: weights[f"{layer}.{module}.experts.{expert}.{name}.weight"]
            out[t] += share * ((F.silu(x[t] @ part(gate).T) * (x[t] @ part(up).T)) @ part(down).T)
    return out


def forward(config, weights, ids):
    eps, heads, kv_heads = config["rms_norm_eps"], config["num_attention_heads"], config["num_key_value_heads"]
    cos, sin = oracle.rotary(config, len(ids))
    x = weights["model.embed_tokens.weight"][ids]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        y = oracle.rms_norm(x, weights[f"{layer}.input_layernorm.weight"], eps)
        q, k, v = (oracle.split_heads(oracle.linear(y, weights, f"{layer}.self_attn.{n}_proj"), h) for n, h in (("q", heads), ("k", kv_heads), ("v", kv_heads)))
        if config["architectures"] == ["Qwen3MoeForCausalLM"]:
            q = oracle.rms_norm(q, weights[f"{layer}.self_attn.q_norm.weight"], eps)
            k = oracle.rms_norm(k, weights[f"{layer}.self_attn.k_norm.weight"], eps)
        mixed = oracle.causal_attention(oracle.rotate(q, cos, sin), oracle.rotate(k, cos, sin), v)
        x = x + oracle.linear(oracle.merge_heads(mixed), weights, f"{layer}.self_attn.o_proj")
        x = x + mixture(oracle.rms_norm(x, weights[f"{layer}.post_attention_layernorm.weight"], eps), weights, layer, config)
    x = oracle.rms_norm(x, weights["model.norm.weight"], eps)
    return x @ weights["model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"].T


def shapes(config):
    kind = config["architectures"][0]
    module, gate, up, down = MODULES[kind]
    experts, _, width = sizes(config)
    hidden = config["hidden_size"]
    as_qwen3 = {**config, "architectures": ["Qwen3ForCausalLM" if kind.startswith("Qwen3") else "LlamaForCausalLM"]}
    found = {}
    for name, shape in oracle.llama_shapes(as_qwen3).items():
        if ".mlp." not in name:
            found[name] = shape
        elif name.endswith(".gate_proj.weight"):
            layer = name[: -len(".mlp.gate_proj.weight")]
            found[f"{layer}.{module}.gate.weight"] = (experts, hidden)
            for e in range(experts):
                for part, rows, columns in ((gate, width, hidden), (up, width, hidden), (down, hidden, width)):
                    found[f"{layer}.{module}.experts.{e}.{part}.weight"] = (rows, columns)
    return found
