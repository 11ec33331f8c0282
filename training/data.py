#!/usr/bin/env python3
"""Streams training batches: unpacked shards -> worker processes (sample, tokenise, pack) -> queue.

  data.py unpack FILE.jsonl.xz ... --out DIR   one .bin/.npz pair per file, visible when complete
  data.py bench --corpus DIR --tokenizer F     tokens per second of the whole pipeline

Workers look for new shards all the time, so training may begin with the first one. The file
weights.json beside the shards says what share of the visits to keep (or to repeat), by language, for
tests and for Python without docstrings ("tests", "undocumented"); it may change while the run goes
on. A packed block is `sequences` rows of 2,048 tokens: ids (u16), codes (u8, see fim.py), start (u16:
where the row's sample began, which gives the attention mask).
"""

import argparse
import json
import lzma
import mmap
import multiprocessing as mp
import os
import queue
import random
import re
import sys
import time

import numpy as np

import bpe
import fim

LENGTH = int(os.environ.get("FIMD_LENGTH", 2048))  # smaller in smoke tests
BLOCK = 16  # sequences per queue item
WEIGHTS = "weights.json"
TEST_PATH = re.compile(r"(^|/)(tests?|testing|specs?|__tests__)/|(^|/)test_|[._-]tests?\.|\.spec\."
                       r"|Tests?\.java$")


def unpack(path, out_dir):
    """Text of all documents back to back (.bin), offsets and names (.npz)."""
    name = os.path.basename(path).replace(".jsonl.xz", "")
    target = os.path.join(out_dir, name)
    if os.path.exists(target + ".npz"):
        return
    offsets, repos, paths, langs = [0], [], [], []
    opener = lzma.open if path.endswith(".xz") else open
    with opener(path, "rb") as f, open(target + ".bin.tmp", "wb") as out:
        for line in f:
            doc = json.loads(line)
            raw = doc["text"].replace("\r\n", "\n").encode("utf-8", "ignore")
            out.write(raw)
            offsets.append(offsets[-1] + len(raw))
            repos.append(doc.get("repo") or "")
            paths.append(doc.get("path") or "")
            langs.append(doc.get("lang") or "")
    os.replace(target + ".bin.tmp", target + ".bin")
    with open(target + ".npz.tmp", "wb") as out:
        np.savez(out, offsets=np.array(offsets, np.int64), repos=np.array(repos),
                 paths=np.array(paths), langs=np.array(langs))
    os.replace(target + ".npz.tmp", target + ".npz")


class Shard:
    def __init__(self, stem):
        meta = np.load(stem + ".npz")
        self.offsets = meta["offsets"].tolist()
        self.repos, self.paths, self.langs = (meta[k].tolist() for k in ("repos", "paths", "langs"))
        with open(stem + ".bin", "rb") as f:
            self.raw = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.groups = {}
        for i in sorted(range(len(self.paths)), key=lambda i: self.paths[i]):
            self.groups.setdefault(self.repos[i], []).append(i)
        self.rank = {i: r for g in self.groups.values() for r, i in enumerate(g)}

    def bytes_of(self, i):
        return self.raw[self.offsets[i]:self.offsets[i + 1]]


class Worker:
    """Draws documents of its share (index % count == rank), every epoch in a new order."""

    def __init__(self, corpus, tokenizer, rank, count, seed, weights):
        self.corpus, self.rank, self.count = corpus, rank, count
        self.rng = random.Random(seed * 1000 + rank)
        self.weights = weights
        self.shards, self.orders, self.visited = {}, {}, {}
        self.looked = 0.0
        encoder = bpe.load(tokenizer)
        self.sampler = fim.Sampler(encoder.encode, encoder.added, self.rng,
                                   neighbours=self._neighbours)
        self.pad = encoder.added["<|fim_pad|>"]
        self.pool = []

    def _look(self):
        self.looked = time.time()
        try:
            with open(os.path.join(self.corpus, WEIGHTS), encoding="utf-8") as f:
                self.weights = json.load(f)
        except (OSError, ValueError):
            pass
        for name in sorted(os.listdir(self.corpus)):
            if name.endswith(".npz") and name not in self.shards:
                shard = Shard(os.path.join(self.corpus, name[:-4]))
                self.shards[name], self.orders[name], self.visited[name] = shard, [], 0.0

    def _neighbours(self, key, rng):
        shard, index = key
        group = shard.groups[shard.repos[index]]
        if len(group) < 2:
            return
        at, seen = shard.rank[index], {index}
        for _ in range(6):
            near = rng.random() < 0.6
            pick = at + rng.randint(-5, 5) if near else rng.randrange(len(group))
            if 0 <= pick < len(group) and group[pick] not in seen:
                other = group[pick]
                seen.add(other)
                yield shard.paths[other], shard.bytes_of(other)

    def _document(self):
        if time.time() - self.looked > 4 or not self.shards:
            self._look()
        while not self.shards:
            time.sleep(0.5)
            self._look()
        names = list(self.shards)
        most = max(self.visited.values())
        shares = [len(self.shards[n].raw) * (1 + 3 * min(1.0, most - self.visited[n]))
                  for n in names]
        name = self.rng.choices(names, shares)[0]
        shard = self.shards[name]
        if not self.orders[name]:
            order = list(range(self.rank, len(shard.paths), self.count)) or [0]
            self.rng.shuffle(order)
            self.orders[name] = order
        self.visited[name] += self.count / len(shard.paths)
        return shard, self.orders[name].pop()

    def _fill(self, want):
        while sum(len(s[0]) for s in self.pool) < want:
            shard, index = self._document()
            weight = share_of(self.weights, shard, index)
            times = int(weight) + (self.rng.random() < weight % 1)
            if not times:
                continue
            text = shard.bytes_of(index).decode("utf-8", "ignore")
            if len(text) < 40:
                continue
            for _ in range(times):
                self.pool += self.sampler.of_document(text, shard.repos[index], shard.paths[index],
                                                      (shard, index))

    def block(self):
        """Best-fit packing of random samples of the pool into BLOCK rows."""
        ids = np.full((BLOCK, LENGTH), self.pad, np.uint16)
        codes = np.zeros((BLOCK, LENGTH), np.uint8)
        start = np.zeros((BLOCK, LENGTH), np.uint16)
        self._fill(LENGTH * BLOCK * 3)
        self.rng.shuffle(self.pool)
        for row in range(BLOCK):
            pack_row(self.pool, ids[row], codes[row], start[row])
        return ids, codes, start


def share_of(weights, shard, index):
    """The share of visits to keep of a document; above 1, how often one counts."""
    language = shard.langs[index]
    weight = weights.get(language, 1.0)
    if "tests" in weights and TEST_PATH.search(shard.paths[index]):
        weight *= weights["tests"]
    if "undocumented" in weights and language == "python" and b'"""' not in shard.bytes_of(index):
        weight *= weights["undocumented"]
    return weight


def set_weights(corpus, weights):
    path = os.path.join(corpus, WEIGHTS)
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        json.dump(weights, f)
    os.replace(path + ".tmp", path)


def pack_row(pool, ids, codes, start):
    """Moves samples from the pool into one row: the newest first, then the best that still fits."""
    at = 0
    while at < LENGTH:
        room, best = LENGTH - at, -1
        if at == 0:
            best = len(pool) - 1
        else:
            for i in range(len(pool) - 1, -1, -1):
                size = len(pool[i][0])
                if size <= room and (best < 0 or size > len(pool[best][0])):
                    best = i
                    if room - size < 8:
                        break
        if best < 0:
            break
        tokens, marks = pool.pop(best)
        size = len(tokens)
        ids[at:at + size] = tokens
        codes[at:at + size] = marks
        start[at:at + size] = at
        at += size
        if not pool:
            break
    start[at:] = at if at < LENGTH else 0


def targets(ids, codes, start):
    """(next ids, their codes); a row's last token and each sample's last token predict nothing."""
    following, counts = np.zeros_like(ids), np.zeros_like(codes)
    following[:, :-1] = ids[:, 1:]
    same = start[:, 1:] == start[:, :-1]
    counts[:, :-1] = np.where(same, codes[:, 1:], 0)
    return following, counts


def boundaries(start, most):
    """Cumulative sample lengths over the flattened rows, padded to most + 1 entries."""
    rows, length = start.shape
    flat = np.flatnonzero((start == np.arange(length, dtype=start.dtype)).ravel())
    flat = flat[:most] if len(flat) > most else flat
    out = np.full(most + 1, rows * length, np.int32)
    out[:len(flat)] = flat
    return out


def _serve(worker_args, out, nice):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"
    if nice:
        os.nice(nice)
    worker = Worker(*worker_args)
    while True:
        out.put(worker.block())


class Loader:
    """Worker processes first .. first + workers - 1 of `total`; other loaders run the rest."""

    def __init__(self, corpus, tokenizer, workers, seed=1, weights=None, depth=48, nice=2, first=0,
                 total=None):
        context = mp.get_context("spawn")
        self.queue = context.Queue(depth)
        self.processes = []
        for rank in range(workers):
            args = (corpus, tokenizer, first + rank, total or workers, seed, weights or {})
            p = context.Process(target=_serve, args=(args, self.queue, nice), daemon=True)
            p.start()
            self.processes.append(p)

    def batch(self, rows):
        """`rows` sequences (a multiple of BLOCK) as (ids, codes, start)."""
        parts = []
        for _ in range(rows // BLOCK):
            while True:
                try:
                    parts.append(self.queue.get(timeout=20))
                    break
                except queue.Empty:
                    dead = [p.exitcode for p in self.processes if not p.is_alive()]
                    if len(dead) == len(self.processes):
                        raise RuntimeError(f"all data workers died: {dead}")
        return tuple(np.concatenate([p[i] for p in parts]) for i in range(3))

    def close(self):
        for p in self.processes:
            p.terminate()


def evaluation_rows(path, encoder, limit=None, raw=False):
    """Packs a JSONL of evaluation samples: (ids, codes, start, owner, names). The prompts are those
    fimd sends; with `raw` whole lines are asked for without an empty line in their place, and only
    the cursor's line follows the middle marker.

    Takes {"prompt","suffix","canonical_solution"} or {"prefix","suffix","middle","path","lang"}.
    owner[row, i] is the sample number + 1; names[sample] its language.
    """
    import gzip
    pool, names = [], []
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as f:
        for line in f:
            d = json.loads(line)
            prefix = d["prefix"] if "prefix" in d else d["prompt"]
            middle = d["middle"] if "middle" in d else d["canonical_solution"]
            suffix, cut = d.get("suffix", ""), prefix.rfind("\n") + 1
            prefix, typed = prefix[:cut], prefix[cut:]
            if not raw:
                prefix, typed, suffix, middle = fim.asked_by_fimd(prefix + typed, suffix, middle)
            tokens, codes = fim.prompt_sample(
                encoder.encode, encoder.added, prefix, suffix, middle, typed=typed,
                repo=d.get("repo"), path=d.get("path"), max_tokens=LENGTH)
            if len(tokens) <= LENGTH:
                pool.append((tokens, codes, len(names)))
                names.append(d.get("lang") or d.get("language") or "python")
            if limit and len(names) >= limit:
                break
    pool.sort(key=lambda s: -len(s[0]))
    rows, fill = [], []
    for sample in pool:
        size = len(sample[0])
        for i, used in enumerate(fill):
            if used + size <= LENGTH:
                break
        else:
            i = len(rows)
            rows.append([])
            fill.append(0)
        rows[i].append((fill[i], sample))
        fill[i] += size
    shape = (len(rows), LENGTH)
    ids = np.full(shape, encoder.added["<|fim_pad|>"], np.uint16)
    codes, start = np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
    owner = np.zeros(shape, np.int32)
    for r, row in enumerate(rows):
        for at, (tokens, marks, number) in row:
            end = at + len(tokens)
            ids[r, at:end], codes[r, at:end] = tokens, marks
            start[r, at:end], owner[r, at:end] = at, number + 1
        start[r, fill[r]:] = fill[r] if fill[r] < LENGTH else 0
    return ids, codes, start, owner, names


def bench(args):
    loader = Loader(args.corpus, args.tokenizer, args.workers)
    loader.batch(BLOCK)
    began, tokens, useful, middle, samples = time.time(), 0, 0, 0, 0
    while time.time() - began < args.seconds:
        ids, codes, start = loader.batch(BLOCK)
        tokens += ids.size
        useful += int((codes > 0).sum())
        middle += int((codes == 2).sum())
        samples += int((start == np.arange(LENGTH, dtype=start.dtype)).sum())
    took = time.time() - began
    loader.close()
    print(f"{tokens / took:,.0f} tokens/s, {useful / tokens:.3f} counted, "
          f"{middle / tokens:.4f} middle, {tokens / samples:.0f} tokens per sample", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("unpack")
    p.add_argument("files", nargs="+")
    p.add_argument("--out", required=True)
    p.add_argument("--jobs", type=int, default=4)
    p = commands.add_parser("bench")
    p.add_argument("--corpus", required=True)
    p.add_argument("--tokenizer", required=True)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    if args.command == "bench":
        return bench(args)
    os.makedirs(args.out, exist_ok=True)
    with mp.Pool(min(args.jobs, len(args.files))) as pool:
        pool.starmap(unpack, [(f, args.out) for f in args.files])
    return 0


if __name__ == "__main__":
    sys.exit(main())
