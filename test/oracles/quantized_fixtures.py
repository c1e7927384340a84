"""Writes test/fixtures/quantized: small random checkpoints in the published formats of few bits, each with the float64 logits of the
oracle over the weights that its codes stand for. The packers are written here from the formats' definitions, on lists of integers; nothing is
shared with the engine, and the weights of the logits come from the integers before they are packed.

    python3 quantized_fixtures.py OUT [NAME ...]        (Python 3, PyTorch 1.13 or newer; deterministic)
"""
import json
import os
import struct
import sys

import torch

import oracle
from make_fixtures import LLAMA, QWEN2, QWEN3

SMALL = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
             vocab_size=61, tie_word_embeddings=True, torch_dtype="float16")
LLAMA_SMALL = {**LLAMA, **SMALL}
QWEN2_SMALL = {**QWEN2, **SMALL}
QWEN3_SMALL = {**QWEN3, **SMALL}
NARROW = dict(hidden_size=64, intermediate_size=96, head_dim=16)
PROMPT_TOKENS = 20


# Codes and scales -------------------------------------------------------------------------------------------------------


class Quantized:
    """codes [rows, columns], unsigned; scales and zeros [rows, groups] in the stored dtype; group_of [columns]."""

    def __init__(self, codes, scales, zeros, group_of):
        self.codes, self.scales, self.zeros, self.group_of = codes, scales, zeros, group_of

    def values(self):
        return self.scales.double()[:, self.group_of] * (self.codes - self.zeros[:, self.group_of]).double()


def quantize(weight, bits, group, symmetric, scale_dtype, group_of=None, zero_range=None):
    rows, columns = weight.shape
    size = columns if group == -1 else group
    groups = -(-columns // size)
    if group_of is None:
        group_of = torch.arange(columns) // size
    scales = torch.zeros(rows, groups, dtype=torch.float64)
    zeros = torch.zeros(rows, groups, dtype=torch.long)
    top = 2 ** bits - 1
    for g in range(groups):
        part = weight[:, group_of == g]
        if symmetric:
            scales[:, g] = part.abs().amax(1) / (2 ** (bits - 1))
            zeros[:, g] = 2 ** (bits - 1)
        else:
            low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
            scales[:, g] = (high - low) / top
            zeros[:, g] = (-low / scales[:, g]).round().long().clamp(*(zero_range or (0, top)))
    scales = scales.to(scale_dtype)
    codes = (weight / scales.double()[:, group_of]).round().long() + zeros[:, group_of]
    return Quantized(codes.clamp(0, top), scales, zeros, group_of)


# Packing ----------------------------------------------------------------------------------------------------------------


def signed(word):
    return word - 2 ** 32 if word >= 2 ** 31 else word


def pack_along(matrix, dim, bits, order=None):
    """int32 words of neighbours along a dimension: the i-th place of a word, from the lowest bits on, holds element order[i]."""
    if dim == 0:
        return pack_along(matrix.T, 1, bits, order).T.contiguous()
    count = 32 // bits
    order = order or list(range(count))
    out = []
    for row in matrix.tolist():
        row = row + [0] * (-len(row) % count)
        words = []
        for at in range(0, len(row), count):
            words.append(signed(sum(row[at + order[i]] << (bits * i) for i in range(count))))
        out.append(words)
    return torch.tensor(out, dtype=torch.int32)


def gptq(name, quantized, bits, version, g_idx=True):
    """AutoGPTQ's and GPTQModel's QuantLinear: weights are transposed, zero points less one in the first version."""
    stored_zeros = quantized.zeros.T - (1 if version == 1 else 0)
    tensors = {
        f"{name}.qweight": pack_along(quantized.codes.T, 0, bits),
        f"{name}.qzeros": pack_along(stored_zeros % 2 ** bits, 1, bits),
        f"{name}.scales": quantized.scales.T.contiguous(),
    }
    if g_idx:
        tensors[f"{name}.g_idx"] = quantized.group_of.to(torch.int32)
    return tensors


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def awq(name, quantized):
    """AutoAWQ's WQLinear_GEMM."""
    return {
        f"{name}.qweight": pack_along(quantized.codes.T, 1, 4, AWQ_ORDER),
        f"{name}.qzeros": pack_along(quantized.zeros.T, 1, 4, AWQ_ORDER),
        f"{name}.scales": quantized.scales.T.contiguous(),
    }


def pack_quantized(name, quantized, bits, symmetric, ordered):
    """compressed-tensors' PackedQuantizationCompressor: int codes are offset to unsigned ones."""
    tensors = {
        f"{name}.weight_packed": pack_along(quantized.codes, 1, bits),
        f"{name}.weight_scale": quantized.scales,
        f"{name}.weight_shape": torch.tensor(quantized.codes.shape, dtype=torch.int64),
    }
    if not symmetric:
        tensors[f"{name}.weight_zero_point"] = pack_along(quantized.zeros, 0, bits)
    if ordered:
        tensors[f"{name}.weight_g_idx"] = quantized.group_of.to(torch.int32)
    return tensors


def e4m3(code):
    """OCP 8-bit floating point, E4M3: a sign, 4 bits of exponent with bias 7, 3 of mantissa; no infinities."""
    sign, exponent, mantissa = (-1.0 if code & 128 else 1.0), (code >> 3) & 15, code & 7
    if code & 127 == 127:
        return float("inf")
    return sign * (mantissa / 8 * 2.0 ** -6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


E4M3 = torch.tensor([e4m3(code) for code in range(256)], dtype=torch.float64)


def float8(weight, block_rows, block_columns, scale_dtype):
    """E4M3 with a scale for each block, and what it stands for."""
    rows, columns = weight.shape
    codes = torch.zeros(rows, columns, dtype=torch.uint8)
    values = torch.zeros(rows, columns, dtype=torch.float64)
    scales = torch.zeros(-(-rows // block_rows), -(-columns // block_columns), dtype=scale_dtype)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            at = slice(i * block_rows, (i + 1) * block_rows), slice(j * block_columns, (j + 1) * block_columns)
            scales[i, j] = (weight[at].abs().max() / 448).to(scale_dtype)
            nearest = ((weight[at] / scales[i, j].double())[..., None] - E4M3).abs().argmin(-1)
            codes[at] = nearest.to(torch.uint8)
            values[at] = E4M3[nearest] * scales[i, j].double()
    return codes, scales, values


# Fixtures: each packs one linear module, and returns its tensors and what they stand for -----------------------------------


def gptq_module(bits, group, symmetric, version, desc_act=False, spare_bias=False, zero_range=None):
    def module(name, weight, generator):
        rows, columns = weight.shape
        group_of = None
        if desc_act:
            group_of = (torch.arange(columns) // group)[torch.randperm(columns, generator=generator)]
        quantized = quantize(weight, bits, group, symmetric, torch.float16, group_of, zero_range)
        tensors = gptq(name, quantized, bits, version)
        if spare_bias:
            tensors[f"{name}.bias"] = torch.zeros(rows, dtype=torch.float16)
        return tensors, quantized.values()
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": symmetric, "desc_act": desc_act,
              "damp_percent": 0.01, "true_sequential": True, "static_groups": False}
    if version == 2:
        config["checkpoint_format"] = "gptq_v2"
    return config, module


def awq_module(group):
    def module(name, weight, _):
        quantized = quantize(weight, 4, group, False, torch.float16)
        return awq(name, quantized), quantized.values()
    return {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm",
            "modules_to_not_convert": ["mlp.down_proj"]}, module


def compressed_config(fmt, weights, activations=None):
    scheme = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": False, "group_size": None,
                                                  "block_structure": None, "actorder": None, "observer": "minmax", **weights},
              "input_activations": activations, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": fmt, "config_groups": {"group_0": scheme}, "ignore": ["lm_head"],
            "kv_cache_scheme": None, "quantization_status": "compressed", "global_compression_ratio": 1.5}


def packed_module(bits, group, symmetric, scale_dtype, ordered=False):
    def module(name, weight, generator):
        columns = weight.shape[1]
        group_of = (torch.arange(columns) // group)[torch.randperm(columns, generator=generator)] if ordered else None
        quantized = quantize(weight, bits, group, symmetric, scale_dtype, group_of)
        return pack_quantized(name, quantized, bits, symmetric, ordered), quantized.values()
    strategy = {"strategy": "channel"} if group == -1 else {"strategy": "group", "group_size": group}
    return compressed_config("pack-quantized", {"num_bits": bits, "symmetric": symmetric, "actorder": "group" if ordered else None, **strategy}), module


DYNAMIC = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": True, "strategy": "token"}


def int8_module():
    def module(name, weight, _):
        quantized = quantize(weight, 8, -1, True, torch.bfloat16)
        codes = (quantized.codes - 128).to(torch.int8)
        return {f"{name}.weight": codes, f"{name}.weight_scale": quantized.scales}, quantized.values()
    return compressed_config("int-quantized", {"strategy": "channel"}, DYNAMIC), module


def float8_channel_module():
    def module(name, weight, _):
        codes, scales, values = float8(weight, 1, weight.shape[1], torch.bfloat16)
        return {f"{name}.weight": codes, f"{name}.weight_scale": scales}, values
    return compressed_config("float-quantized", {"type": "float", "strategy": "channel"}, {**DYNAMIC, "type": "float"}), module


def fp8_block_module(rows, columns):
    def module(name, weight, _):
        codes, scales, values = float8(weight, rows, columns, torch.float32)
        return {f"{name}.weight": codes, f"{name}.weight_scale_inv": scales}, values
    return {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [rows, columns]}, module


def fp8_tensor_module():
    def module(name, weight, _):
        codes, scales, values = float8(weight, *weight.shape, torch.float32)
        tensors = {f"{name}.weight": codes, f"{name}.weight_scale": scales.reshape(()), f"{name}.input_scale": torch.tensor(0.02)}
        return tensors, values
    return {"quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}, module


# name: (base, changes, (quantization_config, module), shards)
FIXTURES = {
    "gptq-4bit-128": (LLAMA_SMALL, {}, gptq_module(4, 128, True, 1, spare_bias=True), 1),
    "gptq-4bit-32-zeros": (QWEN2_SMALL, NARROW, gptq_module(4, 32, False, 1, zero_range=(1, 16)), 1),
    "gptq-4bit-32-desc-act-v2": (LLAMA_SMALL, NARROW, gptq_module(4, 32, False, 2, desc_act=True), 1),
    "gptq-8bit-rows": (LLAMA_SMALL, NARROW, gptq_module(8, -1, True, 1), 1),
    "gptq-8bit-32": (LLAMA_SMALL, NARROW, gptq_module(8, 32, False, 2), 1),
    "awq-128": (QWEN3_SMALL, {}, awq_module(128), 2),
    "awq-32": (LLAMA_SMALL, NARROW, awq_module(32), 1),
    "w4a16-128": (LLAMA_SMALL, dict(torch_dtype="bfloat16"), packed_module(4, 128, True, torch.bfloat16), 1),
    "w4a16-32-zeros": (LLAMA_SMALL, dict(NARROW, torch_dtype="bfloat16"), packed_module(4, 32, False, torch.float16), 1),
    "w4a16-32-ordered": (LLAMA_SMALL, dict(NARROW, torch_dtype="bfloat16"), packed_module(4, 32, True, torch.bfloat16, ordered=True), 1),
    "w8a16-rows": (LLAMA_SMALL, dict(NARROW, torch_dtype="bfloat16"), packed_module(8, -1, True, torch.bfloat16), 1),
    "w8a8-int8": (QWEN2_SMALL, dict(NARROW, torch_dtype="bfloat16"), int8_module(), 1),
    "w8a8-fp8": (QWEN2_SMALL, dict(NARROW, torch_dtype="bfloat16"), float8_channel_module(), 1),
    "fp8-blocks": (QWEN3_SMALL, dict(NARROW, torch_dtype="bfloat16"), fp8_block_module(40, 48), 1),
    "fp8-tensor": (LLAMA_SMALL, dict(NARROW, torch_dtype="bfloat16", tie_word_embeddings=False), fp8_tensor_module(), 1),
}

KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32", torch.int64: "I64", torch.int8: "I8",
         torch.uint8: "F8_E4M3"}


def save_safetensors(tensors, path):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in tensors.items():
        plain = value.contiguous().reshape(-1)
        raw = (plain.view(torch.int16) if value.dtype == torch.bfloat16 else plain).numpy().tobytes()
        header[name] = {"dtype": KINDS[value.dtype], "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def save(tensors, folder, shards):
    if shards == 1:
        save_safetensors(tensors, f"{folder}/model.safetensors")
        return
    names = list(tensors)
    size = -(-len(names) // shards)
    weight_map = {}
    for i in range(shards):
        part = {name: tensors[name] for name in names[i * size:(i + 1) * size]}
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_safetensors(part, f"{folder}/{file}")
        weight_map.update({name: file for name in part})
    total = sum(value.numel() * value.element_size() for value in tensors.values())
    with open(f"{folder}/model.safetensors.index.json", "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file, indent=1)


def is_linear(name, shape, ignored):
    module = name.rsplit(".", 1)[0]
    return len(shape) == 2 and "_proj" in name and not any(module.endswith(end) for end in ignored)


def make(name, out):
    base, changes, (quantization, module), shards = FIXTURES[name]
    config = {**base, **changes, "quantization_config": quantization}
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    dtype = getattr(torch, config["torch_dtype"])
    tensors, values = {}, {}
    for key, shape in oracle.llama_shapes(config).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if is_linear(key, shape, quantization.get("modules_to_not_convert", [])):
            # An outlier here and there, so that scales of neighbours differ.
            weight = noise * 1.3 / shape[1] ** 0.5 * (1 + 2 * (torch.rand(shape, generator=generator, dtype=torch.float64) > 0.97))
            own, values[key] = module(key.rsplit(".", 1)[0], weight, generator)
            tensors.update(own)
            continue
        if len(shape) == 1:
            noise = 1 + 0.2 * noise if key.endswith("weight") else 0.3 * noise
        else:
            noise = noise * (0.7 if "embed" in key else 1.3 / shape[1] ** 0.5)
        tensors[key] = noise.to(dtype)
        values[key] = tensors[key].double()
    ids = torch.randint(0, config["vocab_size"], (PROMPT_TOKENS,), generator=generator)
    logits = oracle.llama(config, values, ids)
    folder = f"{out}/{name}"
    os.makedirs(folder, exist_ok=True)
    save(tensors, folder, shards)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)
    with open(f"{folder}/logits.json", "w") as file:
        rows = ",\n".join("[" + ",".join(f"{value:.8g}" for value in row) + "]" for row in logits.tolist())
        file.write(f'{{"tokenIds": {ids.tolist()}, "logits": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    for fixture in sys.argv[2:] or FIXTURES:
        make(fixture, sys.argv[1])
