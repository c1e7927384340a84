"""usage: pickle_fixtures.py OUT_FOLDER

Writes small files with torch.save, and what a reader must find in them: expected.json holds, by file and tensor, dtype, shape and
the elements' bytes in row-major order. For the bundled OPT checkpoint it holds SHA-256 digests. Needs PyTorch 1.13 or newer.
"""
import collections, hashlib, json, sys
from pathlib import Path
import torch

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
bundled = Path(__file__).resolve().parents[2] / "models" / "tiny-opt" / "pytorch_model.bin"
names = {torch.float64: "f64", torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.int64: "i64",
         torch.int32: "i32", torch.int8: "i8", torch.uint8: "u8", torch.bool: "bool"}
expected = {}


def raw(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    if flat.dtype == torch.bfloat16:
        flat = flat.view(torch.int16)
    return flat.numpy().tobytes()


def describe(state, content):
    return {k: {"dtype": names[t.dtype], "shape": list(t.shape), **content(raw(t))} for k, t in state.items()}


def save(name, state, tensors=None, **options):
    torch.save(state, out / name, **options)
    if tensors is not None:
        expected[name] = describe(tensors, lambda b: {"hex": b.hex()})


torch.manual_seed(7)
dtypes = {names[d]: (torch.arange(-3, 3).reshape(2, 3) if d not in (torch.uint8, torch.bool) else torch.tensor([[0, 1, 1], [1, 0, 1]])).to(d) for d in names}
save("dtypes.bin", dtypes, dtypes)

odd = {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "ones": torch.ones(1, 1, 3, 1), "__proto__": torch.tensor([1.0]), "naïve 🦊": torch.tensor([2.0])}
save("odd.bin", odd, odd)

base = torch.arange(24, dtype=torch.float32)
grid = base.reshape(4, 6)
shared = {"whole": base, "grid": grid, "row": grid[2], "rows": grid[1:3], "tail": base[20:], "tied": base, "half.other": torch.ones(3).half(), "strange": grid[0:1, :]}
save("shared.bin", shared, shared)

module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
state = module.state_dict()
assert state._metadata
save("module_state.bin", state, state)
parameters = {"a": torch.nn.Parameter(torch.randn(2, 2)), "b": torch.nn.Parameter(torch.randn(3), requires_grad=False)}
save("parameters.bin", parameters, parameters)
ordered = collections.OrderedDict((f"layer.{i}.weight", torch.full((2,), float(i))) for i in range(300))
save("many.bin", ordered, ordered)

shard1, shard2 = {"a": torch.randn(2)}, {"b": torch.randn(3).half()}
save("pytorch_model-00001-of-00002.bin", shard1, shard1)
save("pytorch_model-00002-of-00002.bin", shard2, shard2)
index = {"metadata": {"total_size": 14}, "weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}
(out / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2))

# What must be refused.
save("refused_transposed.bin", {"w": grid.t()})
save("refused_expanded.bin", {"w": torch.ones(1).expand(4)})
save("refused_legacy.bin", dtypes, _use_new_zipfile_serialization=False)
save("refused_protocol_4.bin", shard1, pickle_protocol=4)
save("refused_nested.bin", {"state_dict": shard1, "epoch": 3})
save("refused_module.bin", module)
save("refused_complex.bin", {"w": torch.ones(2, dtype=torch.complex64)})
save("refused_int16.bin", {"w": torch.ones(2, dtype=torch.int16)})
save("refused_list.bin", [torch.ones(2)])
save("refused_sparse.bin", {"w": torch.eye(3).to_sparse()})
save("refused_quantized.bin", {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)})
torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), out / "refused_torchscript.bin")

digests = describe(torch.load(bundled, map_location="cpu"), lambda b: {"sha256": hashlib.sha256(b).hexdigest()})
json.dump({"files": expected, "tinyOpt": digests}, open(out / "expected.json", "w"), ensure_ascii=False, separators=(",", ":"))
