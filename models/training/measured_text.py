"""usage: measured_text.py FOLDER FILE   writes documents that are drawn anew, as token ids of the vocabulary in FOLDER: the fixed text of npm run measure:quantization."""
import json, random, sys
import bpe
from corpus import document

TEXTS, TOKENS = 8, 160
tok, r = bpe.load(sys.argv[1]), random.Random(77)
texts = []
for _ in range(TEXTS):
    ids = []
    while len(ids) < TOKENS:
        ids += tok.encode(bpe.render(document(r)))
    texts.append(ids[:TOKENS])
with open(sys.argv[2], "w") as file:
    json.dump({"about": "Documents of training/corpus.py with seed 77, by training/measured_text.py", "texts": texts}, file)
