#!/usr/bin/env python3
"""Trains fimd-small against the clock: everything (warm-down, quantisation-aware end, evaluation,
export) is placed relative to a deadline, whatever the speed of the machine.

  train.py --corpus DIR --tokenizer tokenizer.json --out DIR --deadline-minutes 36

Uses --gpus GPUs; a run that fails goes on from its last state. Reads more shards as they appear in
--corpus. Writes to --out: log.csv, eval.csv, weights-*.npz (bf16
under GGUF tensor names), state.pt (everything, for --resume), latest.gguf, fimd-small.gguf.
The file OUT/deadline (a Unix time) overrides the deadline while the run goes on.
Runs on a CPU too, for smoke tests with a small --config.
"""

import argparse
import csv
import json
import os
import queue
import sys
import threading
import time

import numpy as np
import torch
import torch.nn.functional as F

import bpe
import checkpoint
import data
import model
import optim
import team as teams

PEAK_FLOPS = 989e12  # H100/H200 SXM dense bf16, data sheet


def say(*words):
    print(f"[{time.strftime('%H:%M:%S', time.gmtime())}]", *words, flush=True)


class Feeder:
    """A thread that turns loader blocks into device tensors ahead of time."""

    def __init__(self, loader, rows, device, mode, middle_weight):
        self.loader, self.rows, self.device, self.mode = loader, rows, device, mode
        self.table = np.array([0.0, 1.0, middle_weight], np.float32)
        self.ready = queue.Queue(6)
        self.waited = 0.0
        self.error = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            while True:
                self.ready.put(self.prepare(*self.loader.batch(self.rows)))
        except Exception as e:  # handed to the training loop
            self.error = e
            self.ready.put(None)

    def prepare(self, ids, codes, start):
        target, counts = data.targets(ids, codes, start)
        weight = self.table[counts]
        position = np.arange(ids.shape[1], dtype=np.int64)[None]
        host = {
            "ids": torch.from_numpy(ids.astype(np.int32)),
            "target": torch.from_numpy(target.astype(np.int64).ravel()),
            "weight": torch.from_numpy(weight.ravel()),
            "middle": torch.from_numpy((counts == 2).astype(np.float32).ravel()),
            "mask": torch.from_numpy(
                data.boundaries(start, len(ids) * 10) if self.mode == "varlen"
                else start.astype(np.int32)),
        }
        if self.device.type == "cuda":
            host = {k: v.pin_memory().to(self.device, non_blocking=True) for k, v in host.items()}
        sums = (float(weight.sum()), int((counts > 0).sum()), int((counts == 2).sum()),
                float((position - start + 1).mean()))
        return host, sums

    def next(self):
        began = time.time()
        item = self.ready.get()
        self.waited += time.time() - began
        if item is None:
            raise RuntimeError("the data feeder failed") from self.error
        return item


class Net:
    """The forward pass over the trainer's working copies."""

    def __init__(self, c, trainer, device, mode, compiled, z_loss=1e-4):
        self.c, self.trainer, self.device, self.mode = c, trainer, device, mode
        # Evaluation runs eagerly, with every sample kept apart whatever the training mode.
        self.eval_mode = "varlen" if device.type == "cuda" else "math"
        self.eager_block = model.make_block(c, self.eval_mode)
        self.block, self.head = model.make_block(c, mode), model.make_head(c, z_loss)
        if device.type == "cuda" and mode == "cudnn":
            for name in ("flash", "mem_efficient", "math"):
                getattr(torch.backends.cuda, f"enable_{name}_sdp")(False)
            torch.backends.cuda.enable_cudnn_sdp(True)
        if compiled:
            self.block = torch.compile(self.block, dynamic=False)
            self.head = torch.compile(self.head, dynamic=False)
        self.cos, self.sin = model.rope_tables(c, data.LENGTH, device)

    def mask_of(self, batch):
        if self.mode == "math":
            return model.sample_mask(batch["mask"])
        return batch["mask"]

    def hidden(self, ids, mask, block):
        leaves = self.trainer.leaves
        x = F.embedding(ids, leaves["emb"])
        d = torch.zeros_like(x).requires_grad_(torch.is_grad_enabled())
        for i in range(self.c.layers):
            x, d = block(x, d, *(leaves[k][i] for k in model.LAYER_ORDER), self.cos, self.sin, mask)
        return x, d

    def loss(self, batch):
        x, d = self.hidden(batch["ids"], self.mask_of(batch), self.block)
        leaves = self.trainer.leaves
        return self.head(x, d, leaves["final"], leaves["emb"], batch["target"], batch["weight"],
                         batch["middle"])

    @torch.no_grad()
    def evaluate(self, rows, chunk=16):
        """Teacher-forced scores of an evaluation set. Greedy decoding reproduces a middle exactly if
        every one of its tokens is the most likely one, so this is greedy exact match."""
        ids, codes, start, owner, names = rows
        target, counts = data.targets(ids, codes, start)
        wrong = np.zeros(len(names) + 1, np.int64)
        seen = np.zeros(len(names) + 1, np.int64)
        total, count = 0.0, 0
        leaves = self.trainer.leaves
        for r in range(0, len(ids), chunk):
            part = slice(r, r + chunk)
            if self.eval_mode == "varlen":
                mask = torch.from_numpy(data.boundaries(start[part], len(ids[part]) * 64))
                mask = mask.to(self.device)
            else:
                mask = model.sample_mask(torch.from_numpy(start[part].astype(np.int32)))
            x, d = self.hidden(torch.from_numpy(ids[part].astype(np.int32)).to(self.device), mask,
                               self.eager_block)
            where = torch.from_numpy(np.flatnonzero((counts[part] == 2).ravel())).to(self.device)
            h = model.rms((x + d).view(-1, self.c.hidden)[where], leaves["final"], self.c.eps)
            goal = torch.from_numpy(target[part].astype(np.int64).ravel()).to(self.device)[where]
            who = owner[part].ravel()[where.cpu().numpy()]
            for at in range(0, len(where), 16384):
                logits = F.linear(h[at:at + 16384], leaves["emb"]).float()
                g = goal[at:at + 16384]
                total += float(F.cross_entropy(logits, g, reduction="sum"))
                miss = (logits.argmax(-1) != g).cpu().numpy()
                np.add.at(wrong, who[at:at + 16384], miss)
                np.add.at(seen, who[at:at + 16384], 1)
            count += len(where)
        exact = (wrong[1:] == 0) & (seen[1:] > 0)
        by_language = {}
        for name, hit in zip(names, exact):
            by_language.setdefault(name, []).append(bool(hit))
        return {"loss": total / max(1, count), "exact": float(exact.mean()),
                "by_language": {k: [sum(v), len(v)] for k, v in sorted(by_language.items())}}


class Clock:
    """Progress of the run as a fraction of the time between the first step and the deadline."""

    def __init__(self, deadline, path):
        self.deadline, self.path, self.checked = deadline, path, 0.0
        self.start = time.time()

    def fraction(self):
        now = time.time()
        if now - self.checked > 2:
            self.checked = now
            try:
                with open(self.path) as f:
                    self.deadline = float(f.read())
            except (OSError, ValueError):
                pass
        return (now - self.start) / max(1.0, self.deadline - self.start)


class Guard:
    """Goes back to an earlier snapshot, with a lower learning rate, when the run diverges."""

    def __init__(self, trainer):
        self.trainer, self.kept, self.best, self.scale = trainer, [], float("inf"), 1.0

    def reset(self):
        self.best = float("inf")

    def look(self, step, loss):
        """True if the run was set back. Called with the mean loss of the last steps."""
        if np.isfinite(loss) and loss < self.best + 0.25:
            self.best = min(self.best, loss)
            if step % 160 == 0:
                self.kept = self.kept[-1:] + [(self.best, self.trainer.snapshot())]
            return False
        if not self.kept:
            raise RuntimeError("the run diverged before the first snapshot")
        self.best, state = self.kept[0]
        self.best += 0.1
        self.trainer.load_state(state)
        for g in (*self.trainer.grad.values(), *self.trainer.sum.values()):
            g.zero_()
        self.scale *= 0.6
        say(f"step {step}: loss {loss:.3f} diverges; back to a snapshot, "
            f"learning rate x{self.scale:.2f}")
        return True


def learning_rate(args, step, fraction):
    warm = min(1.0, (step + 1) / args.warmup)
    down = min(1.0, (1 - fraction) / args.warmdown)
    return args.lr * warm * max(args.lr_floor, down)


def build(args, c, trainer, device, loader):
    """Finds an attention and compilation mode that works here, by doing one micro-batch."""
    tries = [(args.attention, not args.eager)]
    if device.type == "cuda":
        tries += [("varlen", True), ("sdpa", True), ("sdpa", False)]
    probe = loader.batch(args.rows)
    for mode, compiled in tries:
        try:
            began = time.time()
            net = Net(c, trainer, device, mode, compiled)
            feeder = Feeder.__new__(Feeder)
            feeder.device, feeder.mode = device, mode
            feeder.table = np.array([0, 1, args.middle_weight], np.float32)
            batch, sums = feeder.prepare(*probe)
            for _ in range(2):
                loss, _, _ = net.loss(batch)
                (loss / sums[0]).backward()
                loss = float(loss.detach())
            for g in trainer.grad.values():
                if not torch.isfinite(g).all():
                    raise RuntimeError("gradients are not finite")
                g.zero_()
            say(f"attention {mode}, compiled {compiled}: ready in {time.time() - began:.1f} s, "
                f"first loss {loss / sums[0]:.3f}")
            return net
        except Exception as e:  # try the next mode
            say(f"attention {mode}, compiled {compiled} failed: {type(e).__name__}: {str(e)[:1500]}")
    raise RuntimeError("no mode works")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--deadline-minutes", type=float, default=30.0)
    parser.add_argument("--deadline", type=float, help="the same as a Unix time")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--config", default="{}", help="JSON over the model's shape")
    parser.add_argument("--workers", type=int, default=13)
    parser.add_argument("--rows", type=int, default=32, help="sequences per micro-batch")
    parser.add_argument("--micro", type=int, default=3, help="micro-batches per step")
    parser.add_argument("--lr", type=float, default=2.5e-3)
    parser.add_argument("--lr-floor", type=float, default=0.01)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--warmdown", type=float, default=0.40)
    parser.add_argument("--quantise", type=float, default=0.82, help="fraction where QAT begins")
    parser.add_argument("--middle-weight", type=float, default=3.0)
    parser.add_argument("--weights", default="{}",
                        help="JSON: language, tests or undocumented -> share of visits kept")
    parser.add_argument("--warmdown-weights", help="the same from the warm-down on")
    parser.add_argument("--attention", default="varlen",
                        help="varlen (samples apart), sdpa or cudnn (whole rows), math (CPU)")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--eval", action="append", default=[], metavar="NAME=FILE",
                        help="scored with fimd's prompts")
    parser.add_argument("--eval-raw", action="append", default=[], metavar="NAME=FILE",
                        help="scored with plain prompts, see data.evaluation_rows")
    parser.add_argument("--eval-minutes", type=float, default=3.0)
    parser.add_argument("--export-minutes", type=float, default=6.0,
                        help="state.pt and latest.gguf every so often")
    parser.add_argument("--insurance", type=float, default=0.955,
                        help="fraction at which an almost final insurance.gguf is written")
    parser.add_argument("--resume", help="weights-*.npz, *.gguf or state.pt")
    parser.add_argument("--max-steps", type=int, default=1 << 60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.deadline is None:
        args.deadline = time.time() + 60 * args.deadline_minutes
    os.makedirs(args.out, exist_ok=True)
    if "FIMD_CHILD" not in os.environ:
        return teams.supervise(os.path.abspath(__file__), sys.argv[1:], args.gpus, args.out,
                               args.deadline, say)
    train(args)
    return 0


def train(args):
    clock = Clock(args.deadline, os.path.join(args.out, "deadline"))
    team = teams.Team()
    if team.first:
        data.set_weights(args.corpus, json.loads(args.weights))
    else:
        sys.stdout = open(os.path.join(args.out, f"rank{team.rank}.log"), "w", buffering=1)
    loader = data.Loader(args.corpus, args.tokenizer, args.workers, args.seed,
                         json.loads(args.weights), first=team.rank * args.workers,
                         total=team.size * args.workers)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    c = model.Config(**json.loads(args.config))
    working = torch.bfloat16 if device.type == "cuda" else torch.float32
    trainer = optim.Trainer(c, device, working, args.seed)
    progress = checkpoint.resume(args.resume, trainer, c) if args.resume else {}
    encoder = bpe.load(args.tokenizer)
    sets = {}
    for raw, item in [*((False, e) for e in args.eval), *((True, e) for e in args.eval_raw)]:
        name, path = item.split("=", 1)
        if not team.first:
            break
        sets[name] = data.evaluation_rows(path, encoder, raw=raw)
        say(f"evaluation set {name}: {len(sets[name][4])} samples in {len(sets[name][0])} rows")
    say(f"{c.parameters():,} parameters on {device}")
    net = build(args, c, trainer, device, loader)
    feeder = Feeder(loader, args.rows, device, net.mode, args.middle_weight)
    run(args, c, net, trainer, feeder, clock, sets, device, progress, team)
    loader.close()
    team.leave()


def open_csv(path, append, columns):
    writer = csv.writer(open(path, "a" if append else "w", buffering=1))
    if not append:
        writer.writerow(columns)
    return writer


def run(args, c, net, trainer, feeder, clock, sets, device, progress, team):
    where = args.out if team.first else os.path.join(args.out, f"rank{team.rank}")
    os.makedirs(where, exist_ok=True)
    log = open_csv(os.path.join(where, "log.csv"), progress,
                   ["step", "seconds", "tokens", "lr", "loss", "middle_loss", "grad_norm",
                    "quantised", "tokens_per_second", "mfu", "data_wait", "skipped"])
    evals = open_csv(os.path.join(where, "eval.csv"), progress,
                     ["step", "seconds", "tokens", "set", "quantised", "loss", "exact",
                      "by_language"])
    start = progress.get("start", time.time())
    clock.start = start
    tokens, step = progress.get("tokens", 0), progress.get("step", 0)
    stable = insured = False
    guard = Guard(trainer)
    now = time.time() - start
    next_eval = now + args.eval_minutes * 60
    next_export = now + args.export_minutes * 60
    window = {"time": time.time(), "tokens": tokens, "context": 0.0, "micro": 0, "waited": 0.0}
    sums = torch.zeros(3, device=device, dtype=torch.float64)
    counts = [0, 0]
    per_step = args.rows * data.LENGTH * args.micro * team.size

    def evaluate():
        for name, rows in sets.items():
            r = net.evaluate(rows)
            evals.writerow([step, round(time.time() - start, 1), tokens, name, int(trainer.quantised),
                            round(r["loss"], 4), round(r["exact"], 4), json.dumps(r["by_language"])])
            say(f"eval {name}: middle loss {r['loss']:.4f}, exact {r['exact']:.4f}"
                f"{' (quantised)' if trainer.quantised else ''} {r['by_language']}")

    if args.resume and not progress:
        evaluate()
    while True:
        fraction = team.share(clock.fraction())
        if fraction >= 1 or step >= args.max_steps:
            break
        lr = learning_rate(args, step, fraction) * guard.scale
        if not stable and fraction >= 1 - args.warmdown:
            stable = True
            kept = os.path.join(args.out, "weights-stable.npz")
            if team.first:
                if not (progress and os.path.exists(kept)):
                    checkpoint.save_weights(kept, trainer, c)
                data.set_weights(args.corpus, json.loads(args.warmdown_weights or args.weights))
            say(f"warm-down begins at step {step}, {tokens:,} tokens")
        if not trainer.quantised and fraction >= args.quantise:
            evaluate()
            trainer.quantised = True
            trainer.refresh()
            guard.reset()
            say(f"quantisation-aware training begins at step {step}, {tokens:,} tokens")
            evaluate()
        for _ in range(args.micro):
            batch, (weight, counted, middle, context) = feeder.next()
            loss, plain, mid = net.loss(batch)
            (loss / (weight * args.micro)).backward()
            trainer.gather()
            sums[0] += plain.detach()
            sums[1] += mid.detach()
            counts[0] += counted
            counts[1] += middle
            window["context"] += context
            window["micro"] += 1
        team.mean(trainer.flat)
        norm = trainer.step(lr, beta=0.85 + 0.10 * min(1.0, step / 300))
        step += 1
        tokens += per_step
        if step % 200 == 0:
            team.align(trainer.master.values())
            trainer.refresh()
        if step <= 10 or step % 20 == 0:
            values = (sums[:2] / torch.tensor([max(1, n) for n in counts], device=device)).tolist()
            now = time.time()
            speed = (tokens - window["tokens"]) / (now - window["time"])
            flops = c.flops_per_token(window["context"] / max(1, window["micro"]))
            log.writerow([step, round(now - start, 2), tokens, f"{lr:.3e}", round(values[0], 4),
                          round(values[1], 4), round(float(norm), 4), int(trainer.quantised),
                          int(speed), round(speed * flops / PEAK_FLOPS / team.size, 4),
                          round(feeder.waited - window["waited"], 2), int(trainer.skipped)])
            if step <= 10 or step % 100 == 0:
                say(f"step {step} {tokens / 1e6:.0f}M lr {lr:.2e} loss {values[0]:.4f} middle "
                    f"{values[1]:.4f} norm {float(norm):.3f} {speed / 1e6:.3f} Mtok/s "
                    f"mfu {speed * flops / PEAK_FLOPS / team.size:.3f} waited {feeder.waited:.1f} s "
                    f"context {window['context'] / max(1, window['micro']):.0f} "
                    f"fraction {fraction:.3f}")
            if step % 20 == 0:
                guard.look(step, team.share(values[0]))
            window = {"time": now, "tokens": tokens, "context": 0.0, "micro": 0,
                      "waited": feeder.waited}
            sums.zero_()
            counts = [0, 0]
        if time.time() - start > next_eval:
            next_eval += args.eval_minutes * 60
            evaluate()
            window["time"], window["tokens"] = time.time(), tokens
        if team.first and time.time() - start > next_export:  # usable whatever happens later
            next_export += args.export_minutes * 60
            checkpoint.save_state(os.path.join(args.out, "state.pt"), trainer,
                       {"step": step, "tokens": tokens, "start": start})
            checkpoint.save_weights(os.path.join(args.out, "weights-latest.npz"), trainer, c)
            checkpoint.export(args.out, "weights-latest.npz", args.tokenizer, "latest.gguf",
                              wait=False)
            window["time"], window["tokens"] = time.time(), tokens
        if team.first and not insured and fraction >= args.insurance:
            insured = True
            checkpoint.save_weights(os.path.join(args.out, "weights-insurance.npz"), trainer, c,
                                    bf16=False)
            checkpoint.export(args.out, "weights-insurance.npz", args.tokenizer, "insurance.gguf",
                              wait=False)
    if team.first:
        finish(args, c, trainer, evaluate, tokens, step, start)


def finish(args, c, trainer, evaluate, tokens, step, start):
    say(f"training ends at step {step}, {tokens:,} tokens, {time.time() - start:.0f} s")
    trainer.quantised = True
    trainer.refresh()
    # Exactly the originals: the export quantises them again and must arrive at the same values.
    checkpoint.save_weights(os.path.join(args.out, "weights-final.npz"), trainer, c, bf16=False)
    failed = checkpoint.export(args.out, "weights-final.npz", args.tokenizer, "fimd-small.gguf")
    say("export failed" if failed else "exported fimd-small.gguf")
    evaluate()
    trainer.quantised = False
    trainer.refresh()
    say("the same weights without quantisation:")
    evaluate()
    trainer.quantised = True
    trainer.refresh()
    with open(os.path.join(args.out, "summary.json"), "w") as f:
        json.dump({"tokens": tokens, "steps": step, "seconds": time.time() - start,
                   "parameters": c.parameters(), "config": c.dict(),
                   "arguments": vars(args)}, f, indent=1)
    import verify
    verify.check_export(os.path.join(args.out, "fimd-small.gguf"), trainer, c)
    say("DONE")


if __name__ == "__main__":
    sys.exit(main())
