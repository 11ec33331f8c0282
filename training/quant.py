"""GGUF block formats used by fimd-small: Q4_0 and Q6_K, in numpy.

`quantize_*` return the bytes of the blocks, `dequantize_*` the float32 values they stand for.
training/fakequant.py holds the same rules for torch; both must stay identical bit for bit, because
training ends with fake-quantised weights and the export must store exactly those.
Rows are the last axis (the input dimension of a matrix), as in GGUF.
"""

import numpy as np

GGML_F32, GGML_F16, GGML_Q4_0, GGML_Q8_0, GGML_Q6_K = 0, 1, 2, 8, 14


def quantize_q4_0(x):
    """Blocks of 32: d = (value of largest magnitude) / -8 as f16, q = floor(x / d + 8.5) in 0..15."""
    x = np.ascontiguousarray(x, np.float32)
    blocks = x.reshape(-1, 32)
    index = np.abs(blocks).argmax(axis=1)
    peak = blocks[np.arange(len(blocks)), index]
    d16 = (peak * np.float32(-0.125)).astype(np.float16)
    d = d16.astype(np.float32)
    inverse = np.where(d != 0, np.float32(1) / np.where(d != 0, d, np.float32(1)), np.float32(0))
    q = np.floor(blocks * inverse[:, None] + np.float32(8.5))
    q = np.clip(q, 0, 15).astype(np.uint8)
    out = np.empty((len(blocks), 18), np.uint8)
    out[:, :2] = d16.view(np.uint8).reshape(-1, 2)
    out[:, 2:] = q[:, :16] | (q[:, 16:] << 4)
    return out.tobytes()


def dequantize_q4_0(data, shape):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 18)
    d = raw[:, :2].copy().view(np.float16).astype(np.float32)
    q = np.concatenate([raw[:, 2:] & 15, raw[:, 2:] >> 4], axis=1).astype(np.float32)
    return (d * (q - 8)).reshape(shape)


def quantize_q6_k(x):
    """Super-blocks of 256 = 16 x 16: w = d * sc * (q - 32); sc i8 from each 16's signed peak / -32."""
    x = np.ascontiguousarray(x, np.float32)
    blocks = x.reshape(-1, 16, 16)
    n = len(blocks)
    index = np.abs(blocks).argmax(axis=2)
    peak = np.take_along_axis(blocks, index[:, :, None], axis=2)[:, :, 0]
    scale = peak * np.float32(-1.0 / 32)
    top = np.take_along_axis(scale, np.abs(scale).argmax(axis=1)[:, None], axis=1)[:, 0]
    d16 = (top * np.float32(-1.0 / 128)).astype(np.float16)
    d = d16.astype(np.float32)
    inverse = np.where(d != 0, np.float32(1) / np.where(d != 0, d, np.float32(1)), np.float32(0))
    sc = np.clip(np.rint(scale * inverse[:, None]), -128, 127).astype(np.float32)
    step = d[:, None] * sc
    inv_step = np.where(step != 0, np.float32(1) / np.where(step != 0, step, np.float32(1)),
                        np.float32(0))
    q = np.clip(np.floor(blocks * inv_step[:, :, None] + np.float32(32.5)), 0, 63)
    q = q.astype(np.uint8).reshape(n, 2, 4, 32)  # half h, quarter, l
    out = np.zeros((n, 210), np.uint8)
    ql = out[:, :128].reshape(n, 2, 2, 32)
    ql[:, :, 0] = (q[:, :, 0] & 15) | ((q[:, :, 2] & 15) << 4)
    ql[:, :, 1] = (q[:, :, 1] & 15) | ((q[:, :, 3] & 15) << 4)
    high = q >> 4
    out[:, 128:192] = (high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) |
                       (high[:, :, 3] << 6)).reshape(n, 64)
    out[:, :128] = ql.reshape(n, 128)
    out[:, 192:208] = sc.astype(np.int8).view(np.uint8)
    out[:, 208:] = d16.view(np.uint8).reshape(-1, 2)
    return out.tobytes()


def dequantize_q6_k(data, shape):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 210)
    n = len(raw)
    ql = raw[:, :128].reshape(n, 2, 2, 32)
    qh = raw[:, 128:192].reshape(n, 2, 32)
    q = np.empty((n, 2, 4, 32), np.uint8)
    q[:, :, 0] = (ql[:, :, 0] & 15) | ((qh & 3) << 4)
    q[:, :, 1] = (ql[:, :, 1] & 15) | (((qh >> 2) & 3) << 4)
    q[:, :, 2] = (ql[:, :, 0] >> 4) | (((qh >> 4) & 3) << 4)
    q[:, :, 3] = (ql[:, :, 1] >> 4) | ((qh >> 6) << 4)
    sc = raw[:, 192:208].copy().view(np.int8).astype(np.float32)
    d = raw[:, 208:].copy().view(np.float16).astype(np.float32)
    values = (q.reshape(n, 16, 16).astype(np.float32) - 32) * (d * sc)[:, :, None]
    return values.reshape(shape)


def quantize_q8_0(x):
    blocks = np.ascontiguousarray(x, np.float32).reshape(-1, 32)
    d16 = (np.abs(blocks).max(axis=1) / np.float32(127)).astype(np.float16)
    d = d16.astype(np.float32)
    inverse = np.where(d != 0, np.float32(1) / np.where(d != 0, d, np.float32(1)), np.float32(0))
    q = np.clip(np.rint(blocks * inverse[:, None]), -127, 127).astype(np.int8)
    out = np.empty((len(blocks), 34), np.uint8)
    out[:, :2] = d16.view(np.uint8).reshape(-1, 2)
    out[:, 2:] = q.view(np.uint8)
    return out.tobytes()


def dequantize_q8_0(data, shape):
    raw = np.frombuffer(data, np.uint8).reshape(-1, 34)
    d = raw[:, :2].copy().view(np.float16).astype(np.float32)
    return (d * raw[:, 2:].copy().view(np.int8).astype(np.float32)).reshape(shape)


def encode(x, ggml_type):
    x = np.asarray(x, np.float32)
    if ggml_type == GGML_F32:
        return x.astype("<f4").tobytes()
    if ggml_type == GGML_F16:
        return x.astype("<f2").tobytes()
    return {GGML_Q4_0: quantize_q4_0, GGML_Q8_0: quantize_q8_0, GGML_Q6_K: quantize_q6_k}[ggml_type](x)


def decode(data, ggml_type, shape):
    if ggml_type == GGML_F32:
        return np.frombuffer(data, "<f4").reshape(shape).copy()
    if ggml_type == GGML_F16:
        return np.frombuffer(data, "<f2").astype(np.float32).reshape(shape)
    return {GGML_Q4_0: dequantize_q4_0, GGML_Q8_0: dequantize_q8_0,
            GGML_Q6_K: dequantize_q6_k}[ggml_type](data, shape)


def byte_size(shape, ggml_type):
    count = int(np.prod(shape))
    block, size = {GGML_F32: (1, 4), GGML_F16: (1, 2), GGML_Q4_0: (32, 18), GGML_Q8_0: (32, 34),
                   GGML_Q6_K: (256, 210)}[ggml_type]
    if shape[-1] % block:
        raise ValueError(f"row of {shape[-1]} is no multiple of the block of {block}")
    return count // block * size
