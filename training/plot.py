#!/usr/bin/env python3
"""plot.py LOG.csv EVAL.csv OUT.png: the loss curve of a run (needs matplotlib)."""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def main():
    with open(sys.argv[1]) as f:
        rows = [{k: float(v) for k, v in r.items()} for r in csv.DictReader(f)]
    with open(sys.argv[2]) as f:
        evals = list(csv.DictReader(f))
    x = [r["tokens"] / 1e9 for r in rows]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 8), sharex=True)
    top.plot(x, [r["loss"] for r in rows], lw=0.7, label="all tokens")
    top.plot(x, [r["middle_loss"] for r in rows], lw=0.4, alpha=0.6, label="middle tokens")
    begin = next((r["tokens"] / 1e9 for r in rows if r["quantised"]), None)
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
        if begin:
            axis.axvline(begin, color="gray", ls="--", lw=0.8, label="4-bit weights from here")
    for name in sorted({e["set"] for e in evals}):
        chosen = [e for e in evals if e["set"] == name]
        at = [float(e["tokens"]) / 1e9 for e in chosen]
        top.plot(at, [float(e["loss"]) for e in chosen], "o-", ms=3, lw=0.8, label=f"{name}: middle")
        bottom.plot(at, [100 * float(e["exact"]) for e in chosen], "o-", ms=3, label=name)
    top.set_ylim(0.3, 4)
    top.set_ylabel("loss (nats per token)")
    bottom.set_ylabel("exact match, greedy (%)")
    bottom.set_xlabel("training tokens (billions)")
    top.legend(fontsize=8)
    bottom.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(sys.argv[3], dpi=110)


if __name__ == "__main__":
    main()
