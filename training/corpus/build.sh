#!/bin/bash
# Builds the training corpus from nothing: downloads, unpacks, lists, cleans, compresses.
#   training/corpus/build.sh WORK_DIR HUMANEVAL.jsonl.gz...
# Needs apt-get with a deb-src line (APT_CONFIG may name a private apt configuration), npm, g++,
# nlohmann-json3-dev, libpcre2-dev and xz. Leaves the shards in WORK_DIR/corpus.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
work=$(realpath -m "$1")
shift
mkdir -p "$work/raw" "$work/held"

g++ -O3 -march=native -std=c++20 -o "$work/clean_corpus" "$here/clean_corpus.cc" -pthread
"$here/download.sh" "$work/dl"
"$here/unpack.sh" "$work/dl"
python3 "$here/list_files.py" "$work/dl"

# First the held-out packages alone, for the evaluation items; then everything, without documents
# that share code with HumanEval, with those items or with the demo files.
zcat "$@" >"$work/decontaminate.jsonl"
awk -F'\t' '$3 == 1' "$work/dl/files.tsv" >"$work/held/files.tsv"
"$work/clean_corpus" "$work/held/files.tsv" "$work/dl/packages.tsv" "$work/decontaminate.jsonl" \
  "$work/held" 1 1
python3 "$here/make_eval.py" "$work/held/heldout.docs.jsonl" "$repo/tests/data/eval/heldout.jsonl"
python3 "$here/demo_items.py" "$repo"/tests/data/demo/* |
  cat "$repo/tests/data/eval/heldout.jsonl" - >>"$work/decontaminate.jsonl"
"$work/clean_corpus" "$work/dl/files.tsv" "$work/dl/packages.tsv" "$work/decontaminate.jsonl" \
  "$work/raw" 4 8
cp "$work/raw/manifest.tsv" "$work/raw/stats.txt" "$here/"
"$here/compress.sh" "$work/raw" "$work/corpus"
