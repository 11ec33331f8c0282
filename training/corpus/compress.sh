#!/bin/bash
# Compresses the parts of the corpus, first shard first: compress.sh IN_DIR OUT_DIR
set -u
mkdir -p "$2"
cd "$1" && ls shard-*.jsonl |
  xargs -P "${JOBS:-2}" -I@ sh -c "xz -4 -T1 -c @ > '$2/@.xz.tmp' && mv '$2/@.xz.tmp' '$2/@.xz'"
