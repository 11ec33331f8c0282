"""Float32 originals, gradients and the optimizer: Muon for matrices, Adam for the rest.

Muon: momentum, orthogonalised by Newton-Schulz in batches of equal shape, each output row scaled by
its running second moment (NorMuon), update RMS 0.2 as AdamW's, so both share one learning rate.
"""

import math

import torch

import fakequant
import model

NS = (3.4445, -4.7750, 2.0315)
# Without q/k norms (the qwen2 architecture has none) attention logits grow until the run diverges, so
# queries and keys learn more slowly; so do the biases and norms under Adam.
QK_SCALE = 0.6
ADAM_SCALE = {"emb": 1.0}


def orthogonalise(g, steps=5):
    """Newton-Schulz on [n, rows, cols], in bf16 on a GPU."""
    x = g.to(torch.bfloat16) if g.is_cuda else g
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) * 1.01 + 1e-12).to(x.dtype)
    for _ in range(steps):
        a = torch.bmm(x, x.transpose(1, 2))
        b = torch.baddbmm(a, a, a, beta=NS[1], alpha=NS[2])
        x = torch.baddbmm(x, b, x, beta=NS[0])
    return x.transpose(1, 2) if tall else x


class Trainer:
    """Holds the originals (float32), the working copies given to the model, and the gradients."""

    def __init__(self, c, device, working=torch.bfloat16, seed=1):
        self.c, self.working = c, working
        self.master = model.initial(c, device, seed)
        self.copy, self.grad, self.sum = {}, {}, {}
        # The sums lie in one piece, so that several GPUs exchange them in one go.
        self.flat = torch.zeros(sum(w.numel() for w in self.master.values()), device=device)
        at = 0
        for name, w in self.master.items():
            dtype = working if name in model.MATRICES or name == "emb" else torch.float32
            self.copy[name] = w.to(dtype, copy=True)
            self.grad[name] = torch.zeros_like(self.copy[name])
            self.sum[name] = self.flat[at:at + w.numel()].view(w.shape)
            at += w.numel()
        self.momentum = {n: torch.zeros_like(self.master[n]) for n in model.MATRICES}
        self.rows = {}
        self.adam = {n: (torch.zeros_like(w), torch.zeros_like(w))
                     for n, w in self.master.items() if n not in model.MATRICES}
        self.steps, self.looked = 0, 0
        self.usual = torch.zeros((), device=device)    # running mean of the gradient norm
        self.skipped = torch.zeros((), device=device)  # steps without a usable gradient
        self.quantised = False
        self.leaves = {}
        for name in model.LAYER_ORDER:
            self.leaves[name] = [self._leaf(name, i) for i in range(c.layers)]
        for name in ("emb", "final"):
            self.leaves[name] = self._leaf(name, None)

    def _leaf(self, name, i):
        w, g = self.copy[name], self.grad[name]
        leaf = (w if i is None else w[i]).detach().requires_grad_()
        leaf.grad = g if i is None else g[i]
        return leaf

    def gather(self):
        """Adds the gradients of one micro-batch to the float32 sums."""
        for name, g in self.grad.items():
            self.sum[name].add_(g)
            g.zero_()

    @torch.no_grad()
    def step(self, lr, beta=0.95, decay=0.1, clip=1.0):
        """One update from the sums, which it clears. Returns the gradient norm (a tensor)."""
        self.steps += 1
        raw = self.flat.norm()
        norm = self._usable(raw)
        self._muon(lr, beta, decay)
        scale = (clip / (norm + 1e-6)).clamp(max=1.0)
        t, (b1, b2) = self.steps, (0.9, 0.95)
        for name, (m, v) in self.adam.items():
            g = self.sum[name] * scale
            m.lerp_(g, 1 - b1)
            v.lerp_(g * g, 1 - b2)
            update = (m / (1 - b1 ** t)) / ((v / (1 - b2 ** t)).sqrt() + 1e-8)
            if name == "emb":
                self.master[name].mul_(1 - lr * decay * 0.1)
            self.master[name].add_(update, alpha=-lr * ADAM_SCALE.get(name, 0.3))
        self.flat.zero_()
        self.refresh()
        return raw

    def _usable(self, norm, most=12.0):
        """Clears a gradient that is not finite or many times the usual size, without asking the device
        (momentum goes on for that step). Returns the norm that counts."""
        ok = torch.isfinite(norm)
        if self.looked >= 100:
            ok = ok & (norm < most * self.usual)
        torch.nan_to_num_(self.flat, nan=0.0, posinf=0.0, neginf=0.0)
        self.flat.mul_(ok)
        norm = torch.where(ok, norm, torch.ones_like(norm))
        self.skipped += ~ok
        weight = 0.02 if self.looked >= 20 else 0.2
        known = self.usual if self.looked else norm
        self.usual = torch.where(ok, known + weight * (norm - known), known)
        self.looked += 1
        return norm

    def _muon(self, lr, beta, decay):
        c, pieces = self.c, []
        for name in model.MATRICES:
            m, g = self.momentum[name], self.sum[name]
            m.lerp_(g, 1 - beta)
            g = g.lerp_(m, beta)  # Nesterov
            sizes = {"qkv": (c.q_size, c.kv_size, c.kv_size), "gate_up": (c.ff, c.ff)}.get(name)
            parts = g.split(sizes, dim=1) if sizes else (g,)
            targets = self.master[name].split(sizes, dim=1) if sizes else (self.master[name],)
            pieces += [(f"{name}{i}", p, w) for i, (p, w) in enumerate(zip(parts, targets))]
        groups = {}
        for key, g, w in pieces:
            flip = g.shape[1] < g.shape[2]
            shape = (g.shape[2], g.shape[1]) if flip else (g.shape[1], g.shape[2])
            groups.setdefault(shape, []).append((key, g, w, flip))
        for shape, members in groups.items():
            stacked = torch.cat([g.transpose(1, 2) if f else g for _, g, _, f in members])
            updates = orthogonalise(stacked).float().split(c.layers)
            for (key, g, w, flip), u in zip(members, updates):
                u = u.transpose(1, 2) if flip else u
                u = self._normalise(key, u)
                w.mul_(1 - lr * decay)
                scale = lr * (QK_SCALE if key in ("qkv0", "qkv1") else 1.0)
                w.add_(u, alpha=-scale * 0.2 * math.sqrt(max(w.shape[1:])))

    def _normalise(self, key, u):
        before = u.square().sum(dim=(1, 2), keepdim=True)
        mean = u.square().mean(dim=2, keepdim=True)
        if key not in self.rows:
            self.rows[key] = mean.clone()
        else:
            self.rows[key].lerp_(mean, 0.05)
        u = u * torch.rsqrt(self.rows[key] + 1e-10)
        return u * (before / u.square().sum(dim=(1, 2), keepdim=True).clamp(min=1e-10)).sqrt()

    @torch.no_grad()
    def values(self, name):
        """What the model computes with, in float32: the original, or what the file will hold."""
        w = self.master[name]
        if not self.quantised:
            return w
        if name in model.MATRICES:
            return fakequant.q4_0(w)
        return fakequant.q6_k(w) if name == "emb" else w

    @torch.no_grad()
    def refresh(self):
        for name, w in self.copy.items():
            w.copy_(self.values(name))

    def state(self):
        return {"steps": self.steps, "master": self.master, "momentum": self.momentum,
                "rows": self.rows, "adam": self.adam}

    def snapshot(self):
        """A copy on the device, for restore()."""
        return {"steps": self.steps, "master": {n: w.clone() for n, w in self.master.items()},
                "momentum": {n: w.clone() for n, w in self.momentum.items()},
                "rows": {n: w.clone() for n, w in self.rows.items()},
                "adam": {n: (m.clone(), v.clone()) for n, (m, v) in self.adam.items()}}

    @torch.no_grad()
    def load_state(self, state):
        self.steps = state["steps"]
        for name, w in state["master"].items():
            self.master[name].copy_(w)
        for name, w in state.get("momentum", {}).items():
            self.momentum[name].copy_(w)
        device = self.master["emb"].device
        self.rows = {k: v.to(device, copy=True) for k, v in state.get("rows", {}).items()}
        for name, (m, v) in state.get("adam", {}).items():
            self.adam[name][0].copy_(m)
            self.adam[name][1].copy_(v)
        self.refresh()
