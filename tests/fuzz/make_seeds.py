"""Writes the seeds of tests/fuzz/corpus: small model and tokenizer files that are valid, and texts.

Usage: python3 tests/fuzz/make_seeds.py
"""

import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
GGML_F32, GGML_Q8_0 = 0, 8


def string(s):
    b = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STRING:
        return string(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def entry(key, kind, v):
    return string(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, values):
    head = string(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(value(kind, v) for v in values)


def gguf(metadata, tensors, version=3):
    """tensors: (name, dims, type, bytes)"""
    infos, data = b"", b""
    for name, dims, kind, content in tensors:
        data += b"\0" * (-len(data) % 32)
        infos += string(name) + struct.pack("<I", len(dims))
        infos += b"".join(struct.pack("<Q", d) for d in dims)
        infos += struct.pack("<IQ", kind, len(data))
        data += content
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(metadata) + infos
    return head + b"\0" * (-len(head) % 32) + data


def decoder(arch, byte_level):
    hidden, heads, kv_heads, ff, layers = 32, 2, 1, 32, 1
    if byte_level:
        tokens = [chr(c) for c in range(97, 123)] + ["Ġ", "Ċ", "he", "Ġhe", "<|endoftext|>"]
        types = [1] * 30 + [3]
        extra = [entry("tokenizer.ggml.model", STRING, "gpt2"),
                 entry("tokenizer.ggml.pre", STRING, "qwen2"),
                 array("tokenizer.ggml.merges", STRING, ["h e", "Ġ he"]),
                 entry("tokenizer.ggml.eos_token_id", U32, 30)]
    else:
        tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "h", "e", "he", "▁he"]
        types = [2, 3, 3, 6, 1, 1, 1, 1, 1]
        extra = [entry("tokenizer.ggml.model", STRING, "llama"),
                 array("tokenizer.ggml.scores", F32, [-float(i) for i in range(len(tokens))]),
                 entry("tokenizer.ggml.add_bos_token", BOOL, True),
                 entry("tokenizer.ggml.bos_token_id", U32, 1)]
    metadata = [
        entry("general.architecture", STRING, arch),
        entry("general.name", STRING, "seed"),
        entry(f"{arch}.context_length", U32, 64),
        entry(f"{arch}.embedding_length", U32, hidden),
        entry(f"{arch}.block_count", U32, layers),
        entry(f"{arch}.feed_forward_length", U32, ff),
        entry(f"{arch}.attention.head_count", U32, heads),
        entry(f"{arch}.attention.head_count_kv", U32, kv_heads),
        entry(f"{arch}.attention.layer_norm_rms_epsilon", F32, 1e-6),
        entry(f"{arch}.rope.freq_base", F32, 10000.0),
        array("tokenizer.ggml.tokens", STRING, tokens),
        array("tokenizer.ggml.token_type", I32, types),
        *extra,
    ]

    def matrix(name, rows, cols):
        return (name, (cols, rows), GGML_Q8_0, b"\1" * (rows * cols // 32 * 34))

    def vector(name, n):
        return (name, (n,), GGML_F32, struct.pack("<f", 1.0) * n)

    head = hidden // heads
    tensors = [matrix("token_embd.weight", len(tokens), hidden), vector("output_norm.weight", hidden)]
    for i in range(layers):
        b = f"blk.{i}."
        tensors += [
            vector(b + "attn_norm.weight", hidden),
            matrix(b + "attn_q.weight", hidden, hidden),
            matrix(b + "attn_k.weight", kv_heads * head, hidden),
            matrix(b + "attn_v.weight", kv_heads * head, hidden),
            matrix(b + "attn_output.weight", hidden, hidden),
            vector(b + "ffn_norm.weight", hidden),
            matrix(b + "ffn_gate.weight", ff, hidden),
            matrix(b + "ffn_up.weight", ff, hidden),
            matrix(b + "ffn_down.weight", hidden, ff),
        ]
        if arch == "qwen2":
            tensors += [vector(b + "attn_q.bias", hidden), vector(b + "attn_k.bias", kv_heads * head),
                        vector(b + "attn_v.bias", kv_heads * head)]
        if arch == "qwen3":
            tensors += [vector(b + "attn_q_norm.weight", head), vector(b + "attn_k_norm.weight", head)]
    return gguf(metadata, tensors)


def byte_level_json():
    vocab = {chr(c): i for i, c in enumerate(range(33, 127))}
    for piece in ("Ġ", "Ċ", "he", "Ġhe"):
        vocab[piece] = len(vocab)
    n = len(vocab)
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": n, "content": "<|endoftext|>", "special": True, "normalized": False},
            {"id": n + 1, "content": "<tool>", "special": False, "normalized": True},
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|[a-z]+(?!x)"},
                 "behavior": "Isolated", "invert": False},
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            ],
        },
        "post_processor": {"type": "ByteLevel"},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "unk_token": None, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": ["h e", ["Ġ", "he"]]},
    }


def sentencepiece_json():
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    pieces += ["▁", "h", "e", "he", "▁he"]
    return {
        "added_tokens": [{"id": i, "content": pieces[i], "special": True} for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first",
                          "split": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True,
                  "vocab": {p: i for i, p in enumerate(pieces)}, "merges": ["h e", "▁ he"]},
    }


def lsp_session():
    uri = "file:///p/a.py"
    at = lambda line, character: {"line": line, "character": character}
    messages = [
        ("initialize", 1, {"processId": 1, "clientInfo": {"name": "x"}, "capabilities": {
            "general": {"positionEncodings": ["utf-8", "utf-16"]},
            "textDocument": {"inlineCompletion": {}}, "workspace": {"configuration": True}},
            "workspaceFolders": [{"uri": "file:///p", "name": "p"}],
            "initializationOptions": {"threads": 2}}),
        ("initialized", None, {}),
        ("textDocument/didOpen", None, {"textDocument": {
            "uri": uri, "languageId": "python", "version": 1,
            "text": "def f(a):\n    return a + 1  # é 😀\r\n\nprint(f(2))\n"}}),
        ("textDocument/didChange", None, {"textDocument": {"uri": uri, "version": 2},
            "contentChanges": [
                {"range": {"start": at(1, 11), "end": at(1, 12)}, "text": "bé\n\tx"},
                {"range": {"start": at(0, 0), "end": at(2, 0)}, "text": "if x:\n"},
                {"range": {"start": at(1, 30), "end": at(9, 9)}, "text": ""}]}),
        ("textDocument/inlineCompletion", 2, {"textDocument": {"uri": uri}, "position": at(1, 3),
            "context": {"triggerKind": 1, "selectedCompletionInfo": {
                "range": {"start": at(1, 0), "end": at(1, 3)}, "text": "print"}},
            "partialResultToken": 7}),
        ("textDocument/completion", 3, {"textDocument": {"uri": uri}, "position": at(0, 1),
            "context": {"triggerKind": 2, "triggerCharacter": "."}}),
        ("$/cancelRequest", None, {"id": 2}),
        ("workspace/didChangeConfiguration", None, {"settings": {"fimd": None}}),
        ("workspace/executeCommand", 4, {"command": "fimd.accepted", "arguments": ["1", 5]}),
        ("textDocument/didChange", None, {"textDocument": {"uri": uri, "version": 3},
            "contentChanges": [{"text": "x\ud83d = 1"}]}),
        ("textDocument/didClose", None, {"textDocument": {"uri": uri}}),
        ("shutdown", 5, None),
        ("exit", None, None),
    ]
    out = b""
    for method, request, params in messages:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if request:
            message["id"] = request
        body = json.dumps(message).encode()
        out += b"Content-Length: %d\r\n\r\n" % len(body) + body
    return out


TEXTS = {
    "code": "int main(void) {\n\treturn the() + 0x1F; // it's\r\n}\n\n\n    <tool>x",
    "scripts": "Привет, 世界! ١٢٣ नमस्ते e\u0301 👩🏽\u200d💻 ﬁ ſ\u3000\u00a0\u2028\u0085\u180e\ufeff",
    "spaces": "  \t \n \r\n  a   \n\n b\u000b\u000c   ",
}


def main():
    out = CORPUS / "gguf"
    out.mkdir(parents=True, exist_ok=True)
    for arch, byte_level in (("qwen2", True), ("qwen3", True), ("llama", False)):
        (out / f"{arch}.gguf").write_bytes(decoder(arch, byte_level))
    every_kind = [
        entry("general.alignment", U32, 32),
        string("k.u8") + struct.pack("<IB", 0, 7),
        string("k.i8") + struct.pack("<Ib", 1, -7),
        string("k.u16") + struct.pack("<IH", 2, 7),
        string("k.i16") + struct.pack("<Ih", 3, -7),
        string("k.u64") + struct.pack("<IQ", 10, 7),
        string("k.i64") + struct.pack("<Iq", 11, -7),
        string("k.f64") + struct.pack("<Id", 12, 0.5),
        array("k.strings", STRING, ["", "a"]),
    ]
    (out / "metadata.gguf").write_bytes(gguf(every_kind, [], version=2))

    out = CORPUS / "tokenizer_json"
    out.mkdir(parents=True, exist_ok=True)
    for name, file in (("byte_level", byte_level_json()), ("sentencepiece", sentencepiece_json())):
        (out / f"{name}.json").write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")

    out = CORPUS / "lsp"
    out.mkdir(parents=True, exist_ok=True)
    (out / "session.txt").write_bytes(lsp_session())
    (out / "framing.txt").write_bytes(
        b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{}"
        b"content-length:3\n\n[1]noise\r\n\r\nContent-Length: 99999999999999999999\r\n\r\n"
        b"Content-Length: 5000\r\n\r\n" + b"x" * 5000 + b"Content-Length: -1\r\n\r\n"
        b"Content-Length: 4\r\n\r\nnull")

    out = CORPUS / "encode"
    out.mkdir(parents=True, exist_ok=True)
    for name, text in TEXTS.items():
        (out / f"{name}.txt").write_bytes(text.encode())
    (out / "invalid.txt").write_bytes(b"a\xff\xc3 \xe4\xb8\n\xf0\x9f\x98 \xed\xa0\x80\xc0\xaf the")


if __name__ == "__main__":
    main()
