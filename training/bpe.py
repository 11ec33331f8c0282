"""Byte-level BPE from a tokenizer.json.

load(path) prefers Hugging Face `tokenizers`; PythonBpe is the slow stand-in where it is not installed
(smoke tests, fixtures). Both give `encode(text) -> list of ids` without control tokens.
"""

import json

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_chars():
    """The byte-level alphabet: byte -> character."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + extra)
            extra += 1
    return table


class PythonBpe:
    def __init__(self, path):
        import regex
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
        self.vocab = data["model"]["vocab"]
        self.added = {a["content"]: a["id"] for a in data.get("added_tokens", [])}
        merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m)
                  for m in data["model"]["merges"]]
        self.rank = {m: i for i, m in enumerate(merges)}
        self.pieces = regex.compile(QWEN2).findall
        self.bytes = byte_chars()
        self.cache = {}

    def _piece(self, piece):
        parts = [self.bytes[b] for b in piece.encode("utf-8")]
        while len(parts) > 1:
            best = min(range(len(parts) - 1),
                       key=lambda i: self.rank.get((parts[i], parts[i + 1]), 1 << 30))
            if (parts[best], parts[best + 1]) not in self.rank:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        return [self.vocab[p] for p in parts]

    def encode(self, text):
        ids = []
        for piece in self.pieces(text):
            known = self.cache.get(piece)
            if known is None:
                known = self._piece(piece)
                if len(self.cache) < 400000:
                    self.cache[piece] = known
            ids.extend(known)
        return ids


class FastBpe:
    def __init__(self, path):
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(path)
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
        self.added = {a["content"]: a["id"] for a in data.get("added_tokens", [])}
        # Source text may spell a control token; it must stay text, so those lose their meaning here.
        plain = dict(data, added_tokens=[])
        self.plain = Tokenizer.from_str(json.dumps(plain, ensure_ascii=False))

    def encode(self, text):
        return self.plain.encode(text, add_special_tokens=False).ids


def load(path):
    try:
        import tokenizers  # noqa: F401
        return FastBpe(path)
    except ImportError:
        return PythonBpe(path)
