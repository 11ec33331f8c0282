#!/usr/bin/env bash
set -euo pipefail

readonly LIMIT=10
names=(one two "three four")

# Says so and leaves.
die() {
  echo "error: $*" >&2
  exit 1
}

count() {
  local file=$1 n=0
  while IFS= read -r line; do
    if [[ -z $line || $line == \#* ]]; then
      continue
    elif ((n > LIMIT)); then
      break
    fi
    n=$((n + 1))
  done <"$file"
  echo "$n"
}

case "${1:-help}" in
  count) count "$2" | sed 's/^/lines: /' ;;
  help | --help)
    cat <<EOF
usage: $0 count FILE
EOF
    ;;
  *) die "unknown command '$1'" ;;
esac

for name in "${names[@]}"; do
  printf '%s\n' "${name%% *}" && true
done
