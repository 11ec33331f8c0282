"""Fake quantisation in torch: the values training/quant.py would store, bit for bit.

Run eagerly: a compiler may replace the divisions by approximations and break the equality.
"""

import torch


def _inverse(d):
    return torch.where(d != 0, 1.0 / torch.where(d != 0, d, torch.ones_like(d)), torch.zeros_like(d))


def q4_0(x):
    """float32 [..., multiple of 32] -> dequantised float32 of the same shape."""
    blocks = x.reshape(-1, 32)
    index = blocks.abs().argmax(dim=1, keepdim=True)
    d = (blocks.gather(1, index) * -0.125).to(torch.float16).to(torch.float32)
    q = torch.floor(blocks * _inverse(d) + 8.5).clamp_(0, 15)
    return ((q - 8) * d).reshape(x.shape)


def q6_k(x):
    blocks = x.reshape(-1, 16, 16)
    index = blocks.abs().argmax(dim=2, keepdim=True)
    scale = blocks.gather(2, index)[:, :, 0] * (-1.0 / 32)
    top = scale.gather(1, scale.abs().argmax(dim=1, keepdim=True))
    d = (top * (-1.0 / 128)).to(torch.float16).to(torch.float32)
    sc = torch.round(scale * _inverse(d)).clamp_(-128, 127)
    step = (d * sc)[:, :, None]
    q = torch.floor(blocks * _inverse(step) + 32.5).clamp_(0, 63)
    return ((q - 32) * step).reshape(x.shape)
