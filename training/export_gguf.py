#!/usr/bin/env python3
"""Writes fimd-small as GGUF: matrices Q4_0, token embeddings Q6_K, norms and biases F32.

Input: a checkpoint of training/train.py (weights-*.npz: float32 or bf16-as-uint16 arrays under GGUF
tensor names) and the tokenizer.json. numpy only; the same input gives the same bytes.
  export_gguf.py --weights out/weights-final.npz --tokenizer tokenizer.json --out fimd-small.gguf
  export_gguf.py --random ...      a random model of the same shape (for speed tests)
"""

import argparse
import json
import sys

import numpy as np

import gguf
import quant

ARCH = dict(layers=18, hidden=512, heads=8, kv_heads=2, head_dim=64, ff=1536, vocab=16384,
            rope_theta=1e5, eps=1e-6, context=2048)


def tensor_shapes(c):
    """(name, shape) of every tensor, in file order."""
    q, kv, h = c["heads"] * c["head_dim"], c["kv_heads"] * c["head_dim"], c["hidden"]
    shapes = [("token_embd.weight", (c["vocab"], h)), ("output_norm.weight", (h,))]
    for i in range(c["layers"]):
        b = f"blk.{i}."
        shapes += [(b + "attn_norm.weight", (h,)),
                   (b + "attn_q.weight", (q, h)), (b + "attn_q.bias", (q,)),
                   (b + "attn_k.weight", (kv, h)), (b + "attn_k.bias", (kv,)),
                   (b + "attn_v.weight", (kv, h)), (b + "attn_v.bias", (kv,)),
                   (b + "attn_output.weight", (h, q)), (b + "ffn_norm.weight", (h,)),
                   (b + "ffn_gate.weight", (c["ff"], h)), (b + "ffn_up.weight", (c["ff"], h)),
                   (b + "ffn_down.weight", (h, c["ff"]))]
    return shapes


def type_of(name, shape, embedding_type=quant.GGML_Q6_K):
    if len(shape) == 1:
        return quant.GGML_F32
    return embedding_type if name == "token_embd.weight" else quant.GGML_Q4_0


def read_tokenizer(path):
    """Vocabulary, merges and special tokens of a byte-level BPE tokenizer.json."""
    with open(path, encoding="utf-8") as f:
        data = json.load(f)
    model = data["model"]
    tokens = {int(i): t for t, i in model["vocab"].items()}
    special = set()
    for added in data.get("added_tokens", []):
        tokens[int(added["id"])] = added["content"]
        if added.get("special", True):
            special.add(int(added["id"]))
    count = max(tokens) + 1
    missing = [i for i in range(count) if i not in tokens]
    if missing:
        raise ValueError(f"{path}: no token for ids {missing[:5]}")
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    return [tokens[i] for i in range(count)], merges, special


def metadata(c, tokens, merges, special, name, extra=None):
    ids = {t: i for i, t in enumerate(tokens)}
    end = ids["<|endoftext|>"]
    meta = {
        "general.architecture": "qwen2",
        "general.type": "model",
        "general.name": name,
        "general.author": "the fimd authors",
        "general.license": "apache-2.0",
        "general.size_label": "63M",
        "general.description": "Fill-in-the-middle code completion model that ships with fimd",
        "general.file_type": 2,
        "general.quantization_version": 2,
        "qwen2.block_count": c["layers"],
        "qwen2.context_length": c["context"],
        "qwen2.embedding_length": c["hidden"],
        "qwen2.feed_forward_length": c["ff"],
        "qwen2.attention.head_count": c["heads"],
        "qwen2.attention.head_count_kv": c["kv_heads"],
        "qwen2.attention.key_length": c["head_dim"],
        "qwen2.attention.value_length": c["head_dim"],
        "qwen2.attention.layer_norm_rms_epsilon": float(c["eps"]),
        "qwen2.rope.freq_base": float(c["rope_theta"]),
        "qwen2.rope.dimension_count": c["head_dim"],
        "qwen2.vocab_size": c["vocab"],
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": gguf.Typed((gguf.ARRAY, gguf.STRING), tokens),
        "tokenizer.ggml.token_type": gguf.Typed(
            (gguf.ARRAY, gguf.I32), [3 if i in special else 1 for i in range(len(tokens))]),
        "tokenizer.ggml.merges": gguf.Typed((gguf.ARRAY, gguf.STRING), merges),
        "tokenizer.ggml.bos_token_id": end,
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.padding_token_id": ids["<|fim_pad|>"],
        "tokenizer.ggml.fim_pre_token_id": ids["<|fim_prefix|>"],
        "tokenizer.ggml.fim_suf_token_id": ids["<|fim_suffix|>"],
        "tokenizer.ggml.fim_mid_token_id": ids["<|fim_middle|>"],
        "tokenizer.ggml.fim_pad_token_id": ids["<|fim_pad|>"],
        "tokenizer.ggml.fim_rep_token_id": ids["<|repo_name|>"],
        "tokenizer.ggml.fim_sep_token_id": ids["<|file_sep|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
    }
    meta.update(extra or {})
    return meta


def as_float(array):
    """float32 of a stored array; uint16 stands for bf16."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def export(weights, c, tokenizer_path, out, name="fimd-small", embedding_type=quant.GGML_Q6_K,
           extra=None):
    """Quantises, writes, reads the file back and proves that nothing changed on the way."""
    tokens, merges, special = read_tokenizer(tokenizer_path)
    if len(tokens) != c["vocab"]:
        raise ValueError(f"tokenizer has {len(tokens)} entries, the model {c['vocab']}")
    tensors = []
    for tensor, shape in tensor_shapes(c):
        values = as_float(weights[tensor])
        if values.shape != shape or not np.isfinite(values).all():
            raise ValueError(f"{tensor}: shape {values.shape}, expected finite {shape}")
        kind = type_of(tensor, shape, embedding_type)
        tensors.append(gguf.Tensor(tensor, shape, kind, quant.encode(values, kind)))
    gguf.write(out, metadata(c, tokens, merges, special, name, extra), tensors)
    back = gguf.Reader(out)
    for t in tensors:
        if back.tensors[t.name].data != t.data:
            raise RuntimeError(f"{t.name} was not read back as written")
    return back


def random_weights(c, seed):
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in tensor_shapes(c):
        if "norm" in name:
            weights[name] = np.ones(shape, np.float32)
        else:
            scale = 0.02 if name.startswith("token") else (0.1 if len(shape) == 1 else 0.04)
            weights[name] = rng.standard_normal(shape, np.float32) * np.float32(scale)
    return weights


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="weights-*.npz of train.py")
    parser.add_argument("--random", type=int, metavar="SEED", help="random weights instead")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--name", default="fimd-small")
    parser.add_argument("--embedding", choices=["q6_k", "q8_0"], default="q6_k")
    args = parser.parse_args()
    c = dict(ARCH)
    if args.random is not None:
        weights = random_weights(c, args.random)
    elif args.weights:
        weights = dict(np.load(args.weights))
        if "config" in weights:
            c.update(json.loads(str(weights.pop("config"))))
    else:
        parser.error("give --weights or --random")
    kind = quant.GGML_Q6_K if args.embedding == "q6_k" else quant.GGML_Q8_0
    back = export(weights, c, args.tokenizer, args.out, args.name, kind)
    print(f"{args.out}: {len(back.tensors)} tensors, {len(back.raw)} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
