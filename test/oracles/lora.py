"""Writes test/fixtures/adapters: LoRA adapters (Hu et al. 2021) in PEFT's files for checkpoints of test/fixtures/models, each with the
float64 logits of the model with the adapter merged into its weights: W + scale B A.

    python3 lora.py MODELS OUT        (MODELS: test/fixtures/models; Python 3, PyTorch 1.13 or newer; deterministic)
"""
import json
import math
import os
import struct
import sys

import torch

from make_fixtures import ARCHITECTURES, save_safetensors

ATTENTION = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
MLP = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]

# (model, adapter): (modules of a layer, layers, dtype of the file, adapter_config.json)
ADAPTERS = {
    ("qwen2-tied", "narrow"): (["self_attn.q_proj", "self_attn.v_proj"], None, torch.float32, dict(r=2, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
    ("qwen2-tied", "wide"): (ATTENTION + MLP, None, torch.bfloat16,
                             dict(r=6, lora_alpha=4, use_rslora=True, target_modules="all-linear", rank_pattern={"down_proj": 3, "layers.1.mlp.up_proj": 5}, alpha_pattern={"o_proj": 9})),
    ("qwen2-tied", "one-layer"): (["self_attn.k_proj", "mlp.down_proj"], [1], torch.float16,
                                  dict(r=1, lora_alpha=1, layers_to_transform=[1], target_modules=["k_proj", "down_proj"])),
    ("phi3-short", "fused"): (["self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj"], None, torch.float32,
                              dict(r=4, lora_alpha=8, target_modules=["qkv_proj", "gate_up_proj", "down_proj"])),
}

# What PEFT writes beside them.
COMMON = dict(peft_type="LORA", task_type="CAUSAL_LM", bias="none", fan_in_fan_out=False, inference_mode=True, init_lora_weights=True, lora_dropout=0.05,
              modules_to_save=None, use_dora=False, use_rslora=False, layers_pattern=None, layers_to_transform=None, rank_pattern={}, alpha_pattern={},
              loftq_config={}, megatron_config=None, megatron_core="megatron.core", revision=None, auto_mapping=None, base_model_name_or_path="a folder",
              exclude_modules=None, lora_bias=False, layer_replication=None)


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    kinds = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    return {name: torch.frombuffer(bytearray(data[slice(*entry["data_offsets"])]), dtype=kinds[entry["dtype"]]).view(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


def of_module(pattern, module, fallback):
    return next((value for key, value in pattern.items() if module == key or module.endswith("." + key)), fallback)


def make(models, out, model, adapter):
    modules, layers, dtype, changes = ADAPTERS[model, adapter]
    settings = {**COMMON, **changes}
    with open(f"{models}/{model}/config.json") as file:
        config = json.load(file)
    with open(f"{models}/{model}/logits.json") as file:
        ids = torch.tensor(json.load(file)["tokenIds"])
    weights = {name: value.double() for name, value in read_safetensors(f"{models}/{model}/model.safetensors").items()}
    generator = torch.Generator().manual_seed(sum(map(ord, model + adapter)))
    saved = {}
    for layer in layers or range(config["num_hidden_layers"]):
        for kind in modules:
            module = f"model.layers.{layer}.{kind}"
            rows, columns = weights[f"{module}.weight"].shape
            rank = of_module(settings["rank_pattern"], module, settings["r"])
            alpha = of_module(settings["alpha_pattern"], module, settings["lora_alpha"])
            a = (torch.randn((rank, columns), generator=generator, dtype=torch.float64) / math.sqrt(columns)).to(dtype)
            b = (0.4 * torch.randn((rows, rank), generator=generator, dtype=torch.float64)).to(dtype)
            saved[f"base_model.model.{module}.lora_A.weight"], saved[f"base_model.model.{module}.lora_B.weight"] = a, b
            scale = alpha / (math.sqrt(rank) if settings["use_rslora"] else rank)
            weights[f"{module}.weight"] = weights[f"{module}.weight"] + scale * (b.double() @ a.double())
    forward, _, own = ARCHITECTURES[config["architectures"][0]]
    if own is None:
        weights = {name.removeprefix("model."): value for name, value in weights.items()}
    logits = forward(config, weights, ids)
    folder = f"{out}/{model}/{adapter}"
    os.makedirs(folder, exist_ok=True)
    save_safetensors(saved, f"{folder}/adapter_model.safetensors")
    with open(f"{folder}/adapter_config.json", "w") as file:
        json.dump(settings, file, indent=1)
    with open(f"{folder}/logits.json", "w") as file:
        rows = ",\n".join("[" + ",".join(f"{value:.8g}" for value in row) + "]" for row in logits.tolist())
        file.write(f'{{"tokenIds": {ids.tolist()}, "logits": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    for names in ADAPTERS:
        make(*sys.argv[1:3], *names)
