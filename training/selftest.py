#!/usr/bin/env python3
"""Checks of the parts of the training that need no GPU and no torch (numpy and `regex` only).

  selftest.py     takes a few seconds and prints one line per check
"""

import json
import os
import random
import tempfile

import numpy as np

import bpe
import data
import export_gguf
import fim
import gguf
import quant

HERE = os.path.dirname(os.path.abspath(__file__))


def decoder(encoder):
    names = {i: t for t, i in encoder.vocab.items()}
    back = {c: b for b, c in bpe.byte_chars().items()}
    return lambda ids: bytes(back[c] for i in ids for c in names[i]).decode("utf-8", "replace")


def sources():
    for name in sorted(os.listdir(HERE)):
        if name.endswith(".py"):
            with open(os.path.join(HERE, name), encoding="utf-8") as f:
                yield name, f.read()


def check_quant():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8, 512), np.float32) * 0.05
    x[0] = 0
    for kind, most in ((quant.GGML_Q4_0, 0.10), (quant.GGML_Q8_0, 0.01), (quant.GGML_Q6_K, 0.03)):
        raw = quant.encode(x, kind)
        assert len(raw) == quant.byte_size(x.shape, kind)
        y = quant.decode(raw, kind, x.shape)
        assert not y[0].any() and np.linalg.norm(y - x) < most * np.linalg.norm(x)
    once = quant.decode(quant.encode(x, 2), 2, x.shape)
    twice = quant.decode(quant.encode(once, 2), 2, x.shape)
    assert np.array_equal(once, twice), "Q4_0 of a Q4_0 value must not move"
    print("quant: round trips within bounds")


def check_samples(encoder, ids):
    """Prefix + middle + suffix is a piece of the document, and every segment is in its place."""
    decode, rng = decoder(encoder), random.Random(7)
    sampler = fim.Sampler(encoder.encode, ids, rng)
    order = [ids["<|fim_prefix|>"], ids["<|fim_suffix|>"], ids["<|fim_middle|>"]]
    kinds = {"single": 0, "several": 0, "line": 0, "blank": 0, "grouped": 0}
    for name, text in sources():
        for _ in range(12):
            for tokens, codes in sampler.of_document(text, "fimd", name):
                assert len(tokens) == len(codes) <= fim.Options.max_tokens
                if order[2] not in tokens:
                    continue
                assert [t for t in tokens if t in order] == order
                a, b, c = (tokens.index(t) for t in order)
                assert tokens[-1] == ids["<|endoftext|>"]
                typed = codes[c + 1:].index(fim.CODE_MIDDLE)
                assert codes[c + 1:c + 1 + typed] == [fim.CODE_TEXT] * typed
                assert codes[c + 1 + typed:] == [fim.CODE_MIDDLE] * (len(tokens) - c - 1 - typed)
                prefix, suffix = decode(tokens[a + 1:b]), decode(tokens[b + 1:c])
                last, middle = decode(tokens[c + 1:-1]), decode(tokens[c + 1 + typed:-1])
                assert prefix + last + suffix in text, (name, middle)
                assert prefix == "" or prefix.endswith("\n")
                lines = decode(tokens[c + 1:c + 1 + typed]).count("\n")
                assert lines < fim.Options.group
                kinds["grouped"] += lines > 0
                if middle.endswith("\n"):
                    kinds["line"] += 1
                elif "\n" in middle:
                    kinds["several"] += 1
                else:
                    kinds["single" if middle.strip() else "blank"] += 1
    assert min(kinds["single"], kinds["several"], kinds["line"], kinds["grouped"]) > 0, kinds
    assert kinds["single"] > kinds["several"]
    print(f"fim: samples rebuild their documents {kinds}")


def check_packing(encoder, ids):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "own.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            for name, text in sources():
                f.write(json.dumps({"repo": "fimd", "path": name, "lang": "python", "text": text}))
                f.write("\n")
        data.unpack(path, folder)
        tokenizer = os.path.join(folder, "tokenizer.json")
        with open(tokenizer, "w", encoding="utf-8") as f:
            json.dump({"model": {"vocab": encoder.vocab, "merges": [
                list(m) for m in sorted(encoder.rank, key=encoder.rank.get)]},
                "added_tokens": [{"content": t, "id": i} for t, i in ids.items()]}, f)
        worker = data.Worker(folder, tokenizer, 0, 1, 1, {})
        tokens, codes, start = worker.block()
    following, counts = data.targets(tokens, codes, start)
    position = np.arange(data.LENGTH)
    assert (start <= position).all() and (np.diff(start.astype(int), axis=1) >= 0).all()
    last = np.append(start[:, 1:] != start[:, :-1], np.ones((len(start), 1), bool), axis=1)
    assert not counts[last].any(), "the end of a sample must predict nothing"
    assert (following[:, :-1] == tokens[:, 1:]).all()
    assert (codes > 0).mean() > 0.9
    edges = data.boundaries(start, 10 * len(start))
    assert edges[0] == 0 and edges[-1] == tokens.size and (np.diff(edges) >= 0).all()
    print(f"data: packed rows are {100 * (codes > 0).mean():.1f}% counted tokens")


def check_export(encoder):
    c = dict(export_gguf.ARCH, layers=2, hidden=256, heads=4, kv_heads=1, ff=512,
             vocab=max(encoder.added.values()) + 1)
    weights = export_gguf.random_weights(c, 3)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = os.path.join(folder, "t.json")
        with open(tokenizer, "w", encoding="utf-8") as f:
            json.dump({"model": {"vocab": encoder.vocab, "merges": [
                list(m) for m in sorted(encoder.rank, key=encoder.rank.get)]},
                "added_tokens": [{"content": t, "id": i} for t, i in encoder.added.items()]}, f)
        files = []
        for name in ("a.gguf", "b.gguf"):
            back = export_gguf.export(weights, c, tokenizer, os.path.join(folder, name))
            files.append(back.raw)
    assert files[0] == files[1], "the export must be deterministic"
    for name, shape in export_gguf.tensor_shapes(c):
        assert back.tensors[name].shape == shape
        if len(shape) == 1:
            assert gguf.same(back.floats(name), weights[name])
    print(f"export: {len(back.tensors)} tensors read back as written")


def main():
    encoder = bpe.PythonBpe(os.path.join(HERE, "tokenizer", "tokenizer.json"))
    check_quant()
    check_samples(encoder, encoder.added)
    check_packing(encoder, encoder.added)
    check_export(encoder)


if __name__ == "__main__":
    main()
