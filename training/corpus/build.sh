#!/bin/bash
# Builds the training corpus from nothing: downloads, unpacks, lists, cleans, compresses.
#   training/corpus/build.sh WORK_DIR HUMANEVAL.jsonl.gz...
# Needs Debian bookworm with apt-get, npm, g++, nlohmann-json3-dev, libpcre2-dev and xz. Uses a private
# apt configuration unless APT_CONFIG names one. Leaves the shards in WORK_DIR/corpus. JOBS limits the
# processes that compress (2). What is there already is not downloaded or unpacked again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
work=$(realpath -m "$1")
shift
mkdir -p "$work/raw" "$work/held" "$work/dl"

g++ -O3 -march=native -std=c++20 -o "$work/clean_corpus" "$here"/clean/*.cc -pthread
APT_CONFIG=${APT_CONFIG:-$("$here/apt_config.sh" "$work/dl")}
export APT_CONFIG
"$here/download.sh" "$work/dl"
"$here/unpack.sh" "$work/dl"
python3 "$here/list_files.py" "$work/dl"

zcat "$@" >"$work/decontaminate.jsonl"
held=$repo/tests/data/eval/heldout.jsonl.gz
if [ ! -e "$held" ]; then
  # The evaluation items, from the held-out packages alone. Remove the file to draw new ones.
  awk -F'\t' '$3 == 1' "$work/dl/files.tsv" >"$work/held/files.tsv"
  "$work/clean_corpus" "$work/held/files.tsv" "$work/dl/packages.tsv" "$work/decontaminate.jsonl" \
    "$work/held" 1 1
  python3 "$here/make_eval.py" "$work/held/heldout.docs.jsonl" "$held"
fi
# Everything, without documents that share code with HumanEval, with those items or with the demo files.
python3 "$here/demo_items.py" "$repo"/tests/data/demo/* | cat <(zcat "$held") - >>"$work/decontaminate.jsonl"
"$work/clean_corpus" "$work/dl/files.tsv" "$work/dl/packages.tsv" "$work/decontaminate.jsonl" \
  "$work/raw" 4 8 2>"$work/clean.log"
cp "$work/raw/manifest.tsv" "$work/raw/stats.txt" "$here/"
"$here/compress.sh" "$work/raw" "$work/corpus"
