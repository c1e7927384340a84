"""Writes test/fixtures/embeddings: small random embedding models as sentence-transformers publishes them, each with the float64
embeddings of the oracle, before and after they are normalised.

    python3 embedding_fixtures.py OUT        (Python 3, PyTorch 1.13 or newer; deterministic)
"""
import json
import os
import sys

import torch

import make_fixtures
import oracle

VOCAB = 260
END = 256

BASE = dict(vocab_size=VOCAB, max_position_embeddings=64, bos_token_id=END, eos_token_id=END)
# name: (config, class that saved it, pooling, normalised)
FIXTURES = {
    "qwen3-last": ({**make_fixtures.QWEN3, **BASE, "hidden_size": 24, "head_dim": 8, "torch_dtype": "bfloat16"}, "Qwen3ForCausalLM", "lasttoken", True),
    "llama-mean": ({**make_fixtures.LLAMA, **BASE, "hidden_size": 24, "tie_word_embeddings": False, "torch_dtype": "float32",
                    "matryoshka_dimensions": [8, 16, 24]}, "LlamaModel", "mean_tokens", False),
}
LENGTHS = (1, 2, 15, 16, 17, 40, 63)


def byte_alphabet():
    """GPT-2's printable stand-ins of the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    return {**{b: chr(b) for b in kept}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def tokenizer():
    """Bytes, with the end of the text behind every text, as Qwen3-Embedding has it."""
    end = {"id": END, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    template = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [END], "tokens": ["<|endoftext|>"]}}}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
             "byte_fallback": False, "vocab": {char: byte for byte, char in byte_alphabet().items()}, "merges": []}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end], "normalizer": None, "pre_tokenizer": level,
            "post_processor": template, "decoder": level, "model": model}


def write(folder, name, content):
    os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
    with open(f"{folder}/{name}", "w") as file:
        json.dump(content, file, indent=1)


def hidden_states(config, weights, ids):
    """Behind the final norm: the logits of a head that is the identity."""
    identity = torch.eye(config["hidden_size"], dtype=torch.float64)
    return oracle.llama({**config, "tie_word_embeddings": False}, {**weights, "lm_head.weight": identity}, ids)


def make(name, out):
    config, saved_as, pooling, normalised = FIXTURES[name]
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    shapes = oracle.llama_shapes(config)
    shapes.pop("lm_head.weight", None)
    weights = make_fixtures.random_weights(shapes, getattr(torch, config["torch_dtype"]), generator)
    doubles = {key: value.double() for key, value in weights.items()}
    cases = []
    for length in LENGTHS:
        ids = torch.randint(0, 256, (length,), generator=generator)
        hidden = hidden_states(config, doubles, ids)
        pooled = hidden[-1] if pooling == "lasttoken" else hidden.mean(0)
        cases.append({"tokenIds": ids.tolist(), "pooled": pooled.tolist(), "embedding": (pooled / pooled.norm()).tolist()})
    folder = f"{out}/{name}"
    os.makedirs(folder, exist_ok=True)
    make_fixtures.save_safetensors({key[len("model."):]: value for key, value in weights.items()}, f"{folder}/model.safetensors")
    write(folder, "config.json", {**config, "architectures": [saved_as]})
    write(folder, "tokenizer.json", tokenizer())
    write(folder, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "model_max_length": 64})
    steps = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalised else [])
    write(folder, "modules.json", [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(steps)])
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    write(folder, "1_Pooling/config.json", {"word_embedding_dimension": config["hidden_size"], **{f"pooling_mode_{mode}": mode == pooling for mode in modes}, "include_prompt": True})
    write(folder, "embeddings.json", cases)


if __name__ == "__main__":
    for fixture in FIXTURES:
        make(fixture, sys.argv[1])
