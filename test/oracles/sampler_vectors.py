"""Golden vectors for the sampler: each stage by itself, and the stages together, in vLLM's formulation.

    python3 test/oracles/sampler_vectors.py > test/fixtures/sampler/vectors.json

Independent of the engine: numpy in double precision, sorts and cumulative sums where the kernels select by radix, Philox
4x32-10 on Python integers. Logits are exact in f32, and drawn anew until no decision is closer than MARGIN.
"""

import json
import math

import numpy as np

MASKED = -3.0e38
MARGIN = 1e-4
MASK32 = 0xFFFFFFFF


def philox(counter, key):
    """Philox 4x32-10 of Salmon, Moraes, Dror and Shaw (SC 2011)."""
    c = list(counter)
    k = list(key)
    for _ in range(10):
        p0 = 0xD2511F53 * c[0]
        p1 = 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & MASK32, (p0 >> 32) ^ c[3] ^ k[1], p0 & MASK32]
        k = [(k[0] + 0x9E3779B9) & MASK32, (k[1] + 0xBB67AE85) & MASK32]
    return c


def gumbel(seed, position, token):
    word = philox([token >> 2, position, 0, 0], [seed & MASK32, seed >> 32])[token & 3]
    u = min((word + 0.5) / 2.0**32, 1 - 2.0**-24)
    return -math.log(-math.log1p(-u)), word


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def mask_logits(logits, allowed):
    out = logits.copy()
    if allowed is not None:
        out[[i for i in range(len(out)) if i not in allowed]] = MASKED
    return out


def bias_logits(logits, biases, stops, early):
    out = logits.copy()
    for token, bias in biases:
        out[token] += bias
    if early:
        out[stops] = MASKED
    return out


def penalise(logits, prompt, output, repetition, frequency, presence):
    """Repetition over prompt and output, then frequency and presence over the output alone. Masked logits stay."""
    out = logits.copy()
    counts = np.bincount(np.array(output, dtype=int), minlength=len(out))
    for token in set(prompt) | set(output):
        if out[token] > MASKED:
            out[token] = out[token] / repetition if out[token] > 0 else out[token] * repetition
    free = out > MASKED
    out[free] -= frequency * counts[free]
    out[free] -= presence * (counts[free] > 0)
    return out


def keep_min_p(logits, temperature, min_p):
    probabilities = softmax(logits / temperature)
    return probabilities >= min_p * probabilities.max()


def keep_top_k(logits, kept, k):
    if k == 0 or k >= len(logits):
        return kept
    kth = np.sort(logits[kept])[::-1][: k][-1] if kept.sum() > k else logits[kept].min()
    return kept & (logits >= kth)


def keep_top_p(logits, kept, temperature, p):
    """vLLM: ascending, drop while the cumulative probability of what is left below is at most 1 - p; renormalised."""
    if p >= 1:
        return kept
    ids = np.flatnonzero(kept)
    ids = ids[np.argsort(logits[ids], kind="stable")]
    cumulative = np.cumsum(softmax(logits[ids] / temperature))
    dropped = cumulative <= 1 - p
    dropped[-1] = False
    result = np.zeros_like(kept)
    result[ids[~dropped]] = True
    return result


def survivors(logits, row):
    """min-p, then top-k, then top-p."""
    t = row["temperature"]
    kept = keep_min_p(logits, t, row["minP"]) & (logits > MASKED)
    kept = keep_top_k(logits, kept, row["topK"])
    return keep_top_p(logits, kept, t, row["topP"])


def swapped(logits, row):
    """The order of vLLM 0.1: top-p over everything, then top-k."""
    t = row["temperature"]
    kept = keep_min_p(logits, t, row["minP"]) & (logits > MASKED)
    kept = keep_top_p(logits, kept, t, row["topP"])
    return keep_top_k(logits, kept, row["topK"])


def is_clear(logits, row, kept):
    """No filter decides by less than MARGIN: nudging min-p and top-p changes nothing."""
    for factor in (1 - MARGIN, 1 + MARGIN):
        nudged = dict(row, minP=row["minP"] * factor, topP=1 - (1 - row["topP"]) * factor)
        if (survivors(logits, nudged) != kept).any():
            return False
    return True


def draw(logits, kept, row, position):
    scores = np.full(len(logits), -np.inf)
    for token in np.flatnonzero(kept):
        scores[token] = logits[token] / row["temperature"] + gumbel(row["seed"], position, int(token))[0]
    order = np.argsort(scores)[::-1]
    gap = scores[order[0]] - scores[order[1]] if kept.sum() > 1 else math.inf
    return int(order[0]), gap


def logprobs_of(logits, token, n):
    values = logits - logits.max()
    values = values - math.log(np.exp(values).sum())
    top = np.argsort(-logits, kind="stable")[:n]
    return {
        "chosen": float(values[token]),
        "rank": int((logits > logits[token]).sum()) + 1,
        "topIds": [int(i) for i in top],
        "top": [float(values[i]) for i in top],
    }


NEUTRAL = {
    "temperature": 1.0,
    "topK": 0,
    "topP": 1.0,
    "minP": 0.0,
    "repetition": 1.0,
    "frequency": 0.0,
    "presence": 0.0,
    "biases": [],
    "stops": [],
    "early": False,
    "allowed": None,
}

STAGES = {
    "allowed ids": {"allowed": 9},
    "biases": {"biases": 6},
    "biases of opposite signs on one token and its neighbours": {"biases": 30},
    "stop ids masked below min_tokens": {"stops": 4, "early": True},
    "stop ids from min_tokens on": {"stops": 4, "early": False},
    "repetition above 1": {"repetition": 1.3},
    "repetition below 1": {"repetition": 0.7},
    "frequency": {"frequency": 0.9},
    "negative frequency": {"frequency": -1.1},
    "presence": {"presence": 1.5},
    "negative presence": {"presence": -2.0},
    "all penalties": {"repetition": 1.2, "frequency": 0.5, "presence": -0.25},
    "temperature": {"temperature": 0.4},
    "high temperature": {"temperature": 1.9},
    "min_p": {"minP": 0.1},
    "min_p at a temperature": {"minP": 0.2, "temperature": 0.6},
    "top_k": {"topK": 7},
    "top_k of one": {"topK": 1},
    "top_p": {"topP": 0.7},
    "top_p of next to nothing": {"topP": 0.01},
    "top_p at a temperature": {"topP": 0.8, "temperature": 1.6},
    "top_k before top_p": {"topK": 5, "topP": 0.6, "order": True},
    "top_k before top_p at a temperature": {"topK": 9, "topP": 0.75, "temperature": 1.4, "order": True},
    "min_p before top_p": {"minP": 0.15, "topP": 0.6, "order": "min_p"},
    "everything": {
        "allowed": 40, "biases": 5, "stops": 3, "early": True, "repetition": 1.1, "frequency": 0.3, "presence": 0.2,
        "temperature": 0.9, "minP": 0.02, "topK": 12, "topP": 0.85,
    },
}  # fmt: skip


def make_case(name, changes, vocabulary, rng):
    order = changes.get("order")
    while True:
        case = try_case(name, {k: v for k, v in changes.items() if k != "order"}, vocabulary, rng, order)
        if case is not None:
            return case


def try_case(name, changes, vocabulary, rng, order):
    row = dict(NEUTRAL, **changes)
    logits = (rng.standard_normal(vocabulary) * 2.5).astype(np.float32).astype(float)
    prompt = [int(i) for i in rng.integers(0, vocabulary, 9)]
    output = [int(i) for i in rng.integers(0, vocabulary, 6)] + prompt[:2] + [prompt[0]]
    ids = [int(i) for i in rng.permutation(vocabulary)]
    if isinstance(row["allowed"], int):
        row["allowed"] = sorted(ids[: row["allowed"]])
    if isinstance(row["biases"], int):
        row["biases"] = [[i, float(np.float32(rng.uniform(-8, 8)))] for i in ids[: row["biases"]]]
    if isinstance(row["stops"], int):
        row["stops"] = ids[3 : 3 + row["stops"]]
    row["seed"] = int(rng.integers(0, 2**63))
    position = len(prompt) + len(output)
    masked = mask_logits(logits, row["allowed"])
    biased = bias_logits(masked, row["biases"], row["stops"], row["early"])
    processed = penalise(biased, prompt, output, row["repetition"], row["frequency"], row["presence"])
    kept = survivors(processed, row)
    if not is_clear(processed, row, kept):
        return None
    other = swapped(processed, row)
    if order is True and (other == kept).all():
        return None
    late = keep_top_p(processed, processed > MASKED, row["temperature"], row["topP"]) & keep_min_p(processed, row["temperature"], row["minP"])
    if order == "min_p" and (late == kept).all():
        return None
    token, gap = draw(processed, kept, row, position)
    if gap < MARGIN:
        return None
    greedy = int(np.argmax(processed))
    return {
        "name": name,
        "logits": [float(x) for x in logits],
        "prompt": prompt,
        "output": output,
        "row": row | {"seed": str(row["seed"])},
        "masked": changed(masked, logits),
        "biased": changed(biased, masked),
        "processed": changed(processed, biased),
        "kept": [int(i) for i in np.flatnonzero(kept)],
        "keptInOtherOrder": [int(i) for i in np.flatnonzero(other)] if order is True else None,
        "token": token,
        "greedy": greedy,
        "logprobs": logprobs_of(logits, token, 5),
    }


def changed(after, before):
    """What a stage made of the logits; null where it changed nothing."""
    return None if (after == before).all() else [float(x) for x in after]


def main():
    rng = np.random.default_rng(20261127)
    cases = [make_case(name, changes, vocabulary, rng) for vocabulary in (41, 97) for name, changes in STAGES.items()]
    random = [
        {"counter": [a, b, c, d], "key": [e, f], "words": philox([a, b, c, d], [e, f])}
        for a, b, c, d, e, f in ([int(x) for x in rng.integers(0, 2**32, 6)] for _ in range(20))
    ]
    print(json.dumps({"cases": cases, "philox": random}, separators=(",", ":")))


main()
