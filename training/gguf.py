"""A small GGUF v3 writer and reader (numpy only). Output depends on the input alone.

Tensors are given as (name, shape as in PyTorch [out, in], ggml type, bytes); GGUF lists dimensions
reversed. Metadata values are Python values; plain ints become u32, floats f32; wrap others in Typed.
"""

import struct
from collections import namedtuple

import numpy as np

from quant import byte_size, decode

ALIGNMENT = 32
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?",
           U64: "<Q", I64: "<q", F64: "<d"}

Typed = namedtuple("Typed", "kind value")  # kind: one type, or (ARRAY, element type)
Tensor = namedtuple("Tensor", "name shape ggml_type data")


def _string(text):
    raw = text if isinstance(text, bytes) else text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _infer(value):
    if isinstance(value, Typed):
        return value
    if isinstance(value, bool):
        return Typed(BOOL, value)
    if isinstance(value, int):
        return Typed(U32, value)
    if isinstance(value, float):
        return Typed(F32, value)
    if isinstance(value, str):
        return Typed(STRING, value)
    if isinstance(value, (list, tuple)):
        return Typed((ARRAY, _infer(value[0]).kind if value else STRING), value)
    raise TypeError(f"no GGUF type for {type(value)}")


def _value(kind, value):
    return _string(value) if kind == STRING else struct.pack(FORMATS[kind], value)


def write(path, metadata, tensors):
    """metadata: dict in file order. tensors: list of Tensor in file order."""
    head = [struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(metadata))]
    for key, raw in metadata.items():
        typed = _infer(raw)
        head.append(_string(key))
        if isinstance(typed.kind, tuple):
            element = typed.kind[1]
            head.append(struct.pack("<IIQ", ARRAY, element, len(typed.value)))
            head.extend(_value(element, v) for v in typed.value)
        else:
            head.append(struct.pack("<I", typed.kind) + _value(typed.kind, typed.value))
    offset = 0
    for t in tensors:
        if len(t.data) != byte_size(t.shape, t.ggml_type):
            raise ValueError(f"{t.name}: {len(t.data)} bytes do not fit shape {t.shape}")
        dims = tuple(reversed(t.shape))
        head.append(_string(t.name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims,
                                                  t.ggml_type, offset))
        offset += -(-len(t.data) // ALIGNMENT) * ALIGNMENT
    head = b"".join(head)
    with open(path, "wb") as out:
        out.write(head + b"\0" * (-len(head) % ALIGNMENT))
        for t in tensors:
            out.write(t.data + b"\0" * (-len(t.data) % ALIGNMENT))


class Reader:
    """Whole file in memory; `metadata` dict, `tensors` dict of Tensor, `floats(name)` decoded."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.raw = f.read()
        self.at = 0
        magic, version, n_tensors, n_kv = self._take("<IIQQ")
        if magic != 0x46554747 or version not in (2, 3):
            raise ValueError(f"{path}: not a GGUF v2/v3 file")
        self.metadata = {}
        for _ in range(n_kv):
            key = self._text()
            self.metadata[key] = self._read(self._take("<I")[0])
        infos = []
        for _ in range(n_tensors):
            name = self._text()
            n_dims, = self._take("<I")
            dims = self._take(f"<{n_dims}Q")
            infos.append((name, tuple(reversed(dims)), *self._take("<IQ")))
        alignment = self.metadata.get("general.alignment", ALIGNMENT)
        start = -(-self.at // alignment) * alignment
        self.tensors = {}
        for name, shape, ggml_type, offset in infos:
            size = byte_size(shape, ggml_type)
            data = self.raw[start + offset:start + offset + size]
            if len(data) != size:
                raise ValueError(f"{path}: tensor {name} is cut off")
            self.tensors[name] = Tensor(name, shape, ggml_type, data)

    def _take(self, fmt):
        values = struct.unpack_from(fmt, self.raw, self.at)
        self.at += struct.calcsize(fmt)
        return values

    def _text(self):
        size, = self._take("<Q")
        self.at += size
        return self.raw[self.at - size:self.at].decode("utf-8", "replace")

    def _read(self, kind):
        if kind == STRING:
            return self._text()
        if kind == ARRAY:
            element, count = self._take("<IQ")
            return [self._read(element) for _ in range(count)]
        return self._take(FORMATS[kind])[0]

    def floats(self, name):
        t = self.tensors[name]
        return decode(t.data, t.ggml_type, t.shape)


def same(a, b):
    """True if two float arrays agree bit for bit (used to prove an export exact)."""
    return np.array_equal(np.asarray(a, np.float32).view(np.uint32),
                          np.asarray(b, np.float32).view(np.uint32))
