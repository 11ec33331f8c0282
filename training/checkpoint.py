"""What a run writes and goes on from: weights under GGUF names, whole states, exported files."""

import json
import os
import subprocess
import sys

import numpy as np
import torch

import export_gguf
import model

HERE = os.path.dirname(os.path.abspath(__file__))


def to_bf16(array):
    """Round to nearest even, as uint16."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def save_weights(path, trainer, c, bf16=True, quantised=False):
    stacks = {n: (trainer.values(n) if quantised else w).float().cpu().numpy()
              for n, w in trainer.master.items()}
    named = model.to_gguf_names(stacks, c)
    named = {k: to_bf16(v) if bf16 and v.ndim > 1 else v for k, v in named.items()}
    with open(path + ".tmp", "wb") as f:
        np.savez(f, config=json.dumps(c.dict()), **named)
    os.replace(path + ".tmp", path)


def export(out, name, tokenizer, target, wait=True):
    command = [sys.executable, os.path.join(HERE, "export_gguf.py"), "--weights",
               os.path.join(out, name), "--tokenizer", tokenizer, "--out", os.path.join(out, target)]
    child = subprocess.Popen(command)
    return child.wait() if wait else child


def resume(path, trainer, c):
    """Loads weights (a new run from old weights) or a whole state (the same run goes on). Returns the
    state's progress: step, tokens, start time; empty for weights alone."""
    if path.endswith(".npz"):
        with np.load(path) as stored:
            named = {k: export_gguf.as_float(stored[k]) for k in stored.files if k != "config"}
        trainer.load_state({"steps": 0, "master": model.from_gguf_names(named, c)})
        return {}
    if path.endswith(".gguf"):
        import verify
        trainer.load_state({"steps": 0, "master": verify.load(path)[1]})
        return {}
    state = torch.load(path, map_location="cpu", weights_only=False)
    trainer.load_state(state)
    return state["progress"]


def save_state(path, trainer, progress):
    torch.save(dict(trainer.state(), progress=progress), path + ".tmp")
    os.replace(path + ".tmp", path)
