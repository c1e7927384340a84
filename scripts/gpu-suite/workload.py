"""The 256-sequence benchmark of nano-vllm, as JSON: workload.py FILE. Lengths and ids from its seed; 142,827 prompt and 133,966 output tokens."""
import json
import sys
from random import randint, seed

seed(0)
prompts = [[randint(0, 10000) for _ in range(randint(100, 1024))] for _ in range(256)]
limits = [randint(100, 1024) for _ in range(256)]
with open(sys.argv[1], "w") as file:
    json.dump([{"promptTokenIds": prompt, "maxTokens": limit} for prompt, limit in zip(prompts, limits)], file)
print(json.dumps({"prompts": sum(map(len, prompts)), "outputs": sum(limits)}))
