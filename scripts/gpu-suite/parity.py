"""
Random weights of a real architecture, and what Hugging Face transformers makes of them: parity.py CONFIG FOLDER.
Saves the checkpoint in bf16 with log-probabilities of fixed token sequences, teacher-forced: in f32, and in bf16 as transformers computes it.
"""
import json
import os
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

config_file, folder = sys.argv[1:3]
torch.manual_seed(0)
config = AutoConfig.from_pretrained(os.path.dirname(config_file))
config.dtype = torch.bfloat16
with torch.device("cuda"):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
with torch.no_grad():
    # Wider than the initialisation, so that log-probabilities differ from uniform ones.
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            parameter.mul_(2.5)
model.save_pretrained(folder, safe_serialization=True)
sequences = torch.randint(0, config.vocab_size, (4, 192), device="cuda")


def top(logits):
    logprobs = torch.log_softmax(logits.float(), dim=-1)[:, :-1]
    chosen = logprobs.gather(-1, sequences[:, 1:, None])[..., 0]
    best = torch.topk(logprobs, 2, dim=-1)
    return {"chosen": chosen.tolist(), "best": best.indices[..., 0].tolist(), "gap": (best.values[..., 0] - best.values[..., 1]).tolist()}


with torch.no_grad():
    narrow = top(model(sequences).logits)
    torch.backends.cuda.matmul.allow_tf32 = False
    wide = top(model.float()(sequences).logits)
with open(f"{folder}/parity.json", "w") as file:
    json.dump({"sequences": sequences.tolist(), "f32": wide, "bf16": narrow}, file)
print(json.dumps({"config": config_file, "parameters": sum(p.numel() for p in model.parameters())}))
