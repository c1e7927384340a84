"""PyTorch at the shapes of the kernel bench, cold caches, in captured graphs: baseline.py [SECONDS]. JSON lines."""
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEADLINE = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 60)
COLD = 512e6


def timed(name, replicas, run, bytes_=0.0, flops=0.0):
    if time.monotonic() > DEADLINE:
        return
    try:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for i in range(2):
                run(i % replicas)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(replicas):
                run(i)
        times = []
        for i in range(6):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) * 1e3 / replicas)
        us = sorted(times[1:])[2]
        limit = max(bytes_ / 4.3e12, flops / 790e12) * 1e6
        print(json.dumps({"name": name, "us": round(us, 3), "limitUs": round(limit, 3), "share": round(limit / us, 3)}), flush=True)
    except Exception as error:  # one baseline that is not there costs its own line
        print(json.dumps({"name": name, "error": str(error)[:200]}), flush=True)


def linear(model, what, n, k, rows):
    weight_bytes = 2.0 * n * k
    replicas = min(64, max(4, int(COLD / weight_bytes) + 1))
    weights = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) for _ in range(replicas)]
    for m in rows:
        x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
        timed(f"torch.linear.{model}.{what}.{m}x{n}x{k}", replicas, lambda i: F.linear(x, weights[i]), weight_bytes + 2.0 * m * (k + n), 2.0 * m * n * k)


def sdpa(model, count, length, heads, kv_heads, dim, query):
    kv_bytes = 4.0 * count * length * kv_heads * dim
    replicas = min(16, max(4, int(COLD / kv_bytes) + 1)) if query == 1 else 4
    make = lambda h, n: torch.randn(count, h, n, dim, device="cuda", dtype=torch.bfloat16)
    q, keys, values = make(heads, query), [make(kv_heads, length) for _ in range(replicas)], [make(kv_heads, length) for _ in range(replicas)]
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        with sdpa_kernel(backend):
            kind = "decode" if query == 1 else "prefill"
            flops = 0 if query == 1 else 2.0 * count * length * length * heads * dim
            run = lambda i: F.scaled_dot_product_attention(q, keys[i], values[i], is_causal=query > 1, enable_gqa=True)
            timed(f"torch.{kind}.{backend.name.split('_')[0].lower()}.{model}.{count}x{length}", replicas, run, kv_bytes if query == 1 else 0, flops)


ROWS = [1, 8, 16, 64, 128, 256, 2048]
linear("8b", "qkv", 6144, 4096, ROWS)
linear("8b", "o", 4096, 4096, ROWS)
linear("8b", "gateUp", 28672, 4096, ROWS)
linear("8b", "down", 4096, 14336, ROWS)
for count, length in ((64, 1024), (64, 4096)):
    sdpa("8b", count, length, 32, 8, 128, 1)
for count, length in ((1, 2048), (4, 2048), (1, 8192)):
    sdpa("8b", count, length, 32, 8, 128, length)
for what, n, k in (("qkv", 4096, 1024), ("o", 1024, 2048), ("gateUp", 6144, 1024), ("down", 1024, 3072)):
    linear("0.6b", what, n, k, ROWS)
linear("8b", "head", 128256, 4096, [1, 16, 64])
