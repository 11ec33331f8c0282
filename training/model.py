"""fimd-small in PyTorch: a qwen2-shaped transformer written as plain functions over weight stacks.

Weights of one kind lie in one tensor [layers, out, in], so that the optimizer treats them in batches.
The training copy is bf16 (or the fake-quantised values as bf16); the float32 originals belong to the
optimizer (optim.py). One compiled function serves all layers.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F


@dataclass
class Config:
    layers: int = 18
    hidden: int = 512
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 64
    ff: int = 1536
    vocab: int = 16384
    rope_theta: float = 1e5
    eps: float = 1e-6
    context: int = 2048

    def dict(self):
        return asdict(self)

    @property
    def q_size(self):
        return self.heads * self.head_dim

    @property
    def kv_size(self):
        return self.kv_heads * self.head_dim

    def parameters(self):
        c = self
        layer = c.hidden * (2 * c.q_size + 2 * c.kv_size + 3 * c.ff) + c.q_size + 2 * c.kv_size
        return c.vocab * c.hidden + c.layers * (layer + 2 * c.hidden) + c.hidden

    def flops_per_token(self, mean_context):
        """Training FLOPs (forward and backward): 6 per matrix weight, plus attention."""
        c = self
        matrices = c.layers * c.hidden * (2 * c.q_size + 2 * c.kv_size + 3 * c.ff)
        return 6 * (matrices + c.vocab * c.hidden) + 12 * c.layers * c.q_size * mean_context


def shapes(c):
    """Weight stacks: name -> shape."""
    return {
        "emb": (c.vocab, c.hidden), "final": (c.hidden,),
        "norm1": (c.layers, c.hidden), "norm2": (c.layers, c.hidden),
        "qkv": (c.layers, c.q_size + 2 * c.kv_size, c.hidden),
        "qkv_bias": (c.layers, c.q_size + 2 * c.kv_size),
        "out": (c.layers, c.hidden, c.q_size),
        "gate_up": (c.layers, 2 * c.ff, c.hidden), "down": (c.layers, c.hidden, c.ff),
    }


MATRICES = ("qkv", "out", "gate_up", "down")


def initial(c, device, seed=1):
    g = torch.Generator(device="cpu").manual_seed(seed)
    weights = {}
    for name, shape in shapes(c).items():
        if name.startswith("norm") or name == "final":
            w = torch.ones(shape)
        elif name == "qkv_bias":
            w = torch.zeros(shape)
        elif name == "emb":
            w = torch.randn(shape, generator=g) * 0.02
        else:
            w = torch.randn(shape, generator=g) * shape[-1] ** -0.5 * 0.5
            if name in ("out", "down"):
                w *= (2 * c.layers) ** -0.5
        weights[name] = w.to(device)
    return weights


def rope_tables(c, length, device, dtype=torch.float32):
    inverse = c.rope_theta ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * inverse[None]
    return angles.cos().to(device, dtype), angles.sin().to(device, dtype)


def rms(x, weight, eps):
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rope(x, cos, sin):
    """x [batch, length, heads, head_dim], pairs (i, i + head_dim / 2)."""
    a, b = x.float().chunk(2, dim=-1)
    cos, sin = cos[None, :, None], sin[None, :, None]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


def attend(mode, q, k, v, mask):
    """Causal attention within samples. mask: cumulative lengths (varlen), bool [b,1,t,t] (math)."""
    b, t, h, d = q.shape
    if mode == "varlen":
        out = torch.ops.aten._flash_attention_forward(
            q.reshape(b * t, h, d), k.reshape(b * t, -1, d), v.reshape(b * t, -1, d), mask, mask, t, t,
            0.0, True, False)[0]
        return out.reshape(b, t, h * d)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if mode in ("sdpa", "cudnn"):  # whole rows: samples see what was packed before them
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    else:
        k, v = (x.repeat_interleave(h // x.shape[1], dim=1) for x in (k, v))
        scores = (q @ k.transpose(-1, -2)).float() * d ** -0.5
        out = scores.masked_fill(~mask, float("-inf")).softmax(-1).to(v.dtype) @ v
    return out.transpose(1, 2).reshape(b, t, h * d)


def make_block(c, mode):
    """One layer as a function. The two halves of the residual sum (x, d) stay apart between layers,
    so that their addition fuses into the next norm."""

    def block(x, d, norm1, qkv, qkv_bias, out, norm2, gate_up, down, cos, sin, mask):
        b, t, _ = x.shape
        x = x + d
        h = F.linear(rms(x, norm1, c.eps), qkv, qkv_bias.to(qkv.dtype))
        q, k, v = h.split((c.q_size, c.kv_size, c.kv_size), dim=-1)
        q = rope(q.view(b, t, c.heads, c.head_dim), cos, sin)
        k = rope(k.view(b, t, c.kv_heads, c.head_dim), cos, sin)
        a = attend(mode, q, k, v.view(b, t, c.kv_heads, c.head_dim), mask)
        x = x + F.linear(a, out)
        h = rms(x, norm2, c.eps)
        g, u = F.linear(h, gate_up[:c.ff]), F.linear(h, gate_up[c.ff:])
        return x, F.linear(F.silu(g) * u, down)

    return block


def make_head(c, z_loss):
    """Final norm, logits and loss: (loss to minimise, plain loss sum, middle loss sum)."""

    def head(x, d, final, emb, target, weight, middle):
        h = rms(x + d, final, c.eps).view(-1, c.hidden)
        logits = F.linear(h, emb).float()
        lse = torch.logsumexp(logits, dim=-1)
        ce = lse - logits.gather(1, target[:, None])[:, 0]
        loss = ((ce + z_loss * lse.square()) * weight).sum()
        with torch.no_grad():
            plain = (ce * (weight > 0)).sum()
            mid = (ce * middle).sum()
        return loss, plain, mid

    return head


def make_logits(c):
    def logits(x, d, final, emb):
        return F.linear(rms(x + d, final, c.eps), emb)

    return logits


def sample_mask(start):
    """bool [b, 1, t, t] from the start indices of the samples (small sizes only)."""
    t = start.shape[1]
    i = torch.arange(t, device=start.device)
    return ((i[None, None, :] <= i[None, :, None]) &
            (i[None, None, :] >= start[:, :, None].long()))[:, None]


def to_gguf_names(weights, c):
    """Stacks (numpy or torch) -> GGUF tensor names."""
    named = {"token_embd.weight": weights["emb"], "output_norm.weight": weights["final"]}
    q, kv, ff = c.q_size, c.kv_size, c.ff
    for i in range(c.layers):
        b = f"blk.{i}."
        w, bias = weights["qkv"][i], weights["qkv_bias"][i]
        named.update({
            b + "attn_norm.weight": weights["norm1"][i], b + "ffn_norm.weight": weights["norm2"][i],
            b + "attn_q.weight": w[:q], b + "attn_q.bias": bias[:q],
            b + "attn_k.weight": w[q:q + kv], b + "attn_k.bias": bias[q:q + kv],
            b + "attn_v.weight": w[q + kv:], b + "attn_v.bias": bias[q + kv:],
            b + "attn_output.weight": weights["out"][i],
            b + "ffn_gate.weight": weights["gate_up"][i][:ff],
            b + "ffn_up.weight": weights["gate_up"][i][ff:],
            b + "ffn_down.weight": weights["down"][i]})
    return named


def from_gguf_names(named, c):
    """The inverse of to_gguf_names, as float32 torch stacks."""
    t = {k: torch.as_tensor(v, dtype=torch.float32) for k, v in named.items()}
    layers = range(c.layers)

    def stack(*names):
        return torch.stack([torch.cat([t[f"blk.{i}.{n}"] for n in names]) for i in layers])

    return {"emb": t["token_embd.weight"], "final": t["output_norm.weight"],
            "norm1": stack("attn_norm.weight"), "norm2": stack("ffn_norm.weight"),
            "qkv": stack("attn_q.weight", "attn_k.weight", "attn_v.weight"),
            "qkv_bias": stack("attn_q.bias", "attn_k.bias", "attn_v.bias"),
            "out": stack("attn_output.weight"),
            "gate_up": stack("ffn_gate.weight", "ffn_up.weight"), "down": stack("ffn_down.weight")}


def reference_logits(weights, c, ids):
    """float32 logits [tokens, vocab] of one sequence, eager, for fixtures and checks."""
    ids = torch.as_tensor(ids, dtype=torch.long, device=weights["emb"].device)[None]
    n = ids.shape[1]
    block, last = make_block(c, "math"), make_logits(c)
    cos, sin = rope_tables(c, n, ids.device)
    mask = sample_mask(torch.zeros_like(ids))
    with torch.no_grad():
        x = weights["emb"][ids]
        d = torch.zeros_like(x)
        for i in range(c.layers):
            x, d = block(x, d, *(weights[k][i] for k in LAYER_ORDER), cos, sin, mask)
        return last(x, d, weights["final"], weights["emb"])[0]


LAYER_ORDER = ("norm1", "qkv", "qkv_bias", "out", "norm2", "gate_up", "down")
