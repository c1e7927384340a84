"""
Hugging Face transformers on random weights of a real architecture: generate.py CONFIG SECONDS. Decode tokens per second of
generate() with batches, eager and with a compiled static cache. JSON lines.
"""
import json
import os
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM

config_file, seconds = sys.argv[1], float(sys.argv[2])
deadline = time.monotonic() + seconds
config = AutoConfig.from_pretrained(os.path.dirname(config_file))
with torch.device("cuda"):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
name = os.path.basename(os.path.dirname(config_file))


def run(batch, tokens, **options):
    ids = torch.randint(0, config.vocab_size, (batch, 32), device="cuda")
    start = time.monotonic()
    model.generate(ids, attention_mask=torch.ones_like(ids), min_new_tokens=tokens, max_new_tokens=tokens, do_sample=False, pad_token_id=0, **options)
    torch.cuda.synchronize()
    return time.monotonic() - start


for kind, options in (("eager", {}), ("static cache, compiled", {"cache_implementation": "static"})):
    for batch in (1, 64):
        if time.monotonic() > deadline:
            break
        try:
            run(batch, 8, **options)
            if kind != "eager":
                run(batch, 8, **options)
            short, long = run(batch, 8, **options), run(batch, 104, **options)
            rate = batch * 96 / (long - short)
            print(json.dumps({"model": name, "what": f"transformers generate, {kind}", "batch": batch, "tokensPerSecond": round(rate, 1)}), flush=True)
        except Exception as error:  # one baseline that does not run costs its own line
            print(json.dumps({"model": name, "what": f"transformers generate, {kind}", "batch": batch, "error": str(error)[:200]}), flush=True)
