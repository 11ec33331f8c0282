#!/usr/bin/env python3
"""Proves an exported GGUF: its weights are the fake-quantised ones, and writes a logits fixture.

  verify.py --gguf fimd-small.gguf --tokenizer tokenizer.json --fixture DIR
writes DIR/logits.json (prompts, token ids, layout) and DIR/logits.bin (float32, see the JSON).
The logits are computed in float32 from the dequantised weights of the file.
"""

import argparse
import json
import os

import numpy as np
import torch

import bpe
import fim
import gguf
import model

PROMPTS = (
    {"repo": "demo", "path": "demo/cart.py",
     "prefix": "class Cart:\n    def __init__(self):\n        self.items = []\n\n"
               "    def add(self, item, price):\n        self.items.append((item, price))\n\n"
               "    def total(self):\n",
     "suffix": "\n\n    def clear(self):\n        self.items = []\n",
     "typed": "        return sum("},
    {"repo": None, "path": None,
     "prefix": "#include <vector>\n\nint sum(const std::vector<int>& values) {\n  int total = 0;\n",
     "suffix": "\n  return total;\n}\n", "typed": "  for (int v : "},
    {"repo": "web", "path": "src/util.ts",
     "prefix": "export function clamp(value: number, low: number, high: number): number {\n",
     "suffix": "}\n", "typed": ""},
)


def check_export(path, trainer, c):
    """Compares every tensor of the file with the trainer's fake-quantised values, bit for bit."""
    reader = gguf.Reader(path)
    stacks = {n: trainer.values(n).float().cpu().numpy() for n in trainer.master}
    for name, values in model.to_gguf_names(stacks, c).items():
        stored = reader.floats(name)
        # A negative scale turns +0 into -0; compare as numbers.
        if not np.array_equal(stored, values):
            off = np.abs(stored - values)
            raise RuntimeError(f"{name}: {int((off > 0).sum())} values differ, most {off.max()}")
    print(f"{path}: all {len(reader.tensors)} tensors equal the fake-quantised weights", flush=True)


def prompt_ids(encoder, p):
    tokens, _ = fim.prompt_sample(encoder.encode, encoder.added, p["prefix"], p["suffix"], "",
                                  typed=p["typed"], repo=p["repo"], path=p["path"])
    return tokens[:-1]  # without <|endoftext|>


def load(path):
    reader = gguf.Reader(path)
    m = reader.metadata
    c = model.Config(layers=m["qwen2.block_count"], hidden=m["qwen2.embedding_length"],
                     heads=m["qwen2.attention.head_count"],
                     kv_heads=m["qwen2.attention.head_count_kv"],
                     head_dim=m["qwen2.attention.key_length"],
                     ff=m["qwen2.feed_forward_length"], vocab=m["qwen2.vocab_size"],
                     rope_theta=m["qwen2.rope.freq_base"],
                     eps=m["qwen2.attention.layer_norm_rms_epsilon"],
                     context=m["qwen2.context_length"])
    return c, model.from_gguf_names({n: reader.floats(n) for n in reader.tensors}, c)


def greedy(weights, c, ids, stop, most=24):
    ids = list(ids)
    for _ in range(most):
        token = int(model.reference_logits(weights, c, ids)[-1].argmax())
        if token == stop:
            break
        ids.append(token)
    return ids


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--fixture", required=True)
    args = parser.parse_args()
    c, weights = load(args.gguf)
    encoder = bpe.load(args.tokenizer)
    os.makedirs(args.fixture, exist_ok=True)
    described, rows = [], []
    for p in PROMPTS:
        ids = prompt_ids(encoder, p)
        logits = model.reference_logits(weights, c, ids)
        rows.append(logits[-1].float().cpu().numpy())
        done = greedy(weights, c, ids, encoder.added["<|endoftext|>"])
        described.append(dict(p, ids=ids, greedy=done[len(ids):],
                              argmax_per_position=logits.argmax(-1).tolist()))
    np.stack(rows).astype("<f4").tofile(os.path.join(args.fixture, "logits.bin"))
    with open(os.path.join(args.fixture, "logits.json"), "w") as f:
        json.dump({"layout": "logits.bin: float32 little-endian [prompts][vocab], the last position of "
                             "each prompt, from the dequantised weights in float32",
                   "vocab": c.vocab, "prompts": described}, f, indent=1)


if __name__ == "__main__":
    main()
