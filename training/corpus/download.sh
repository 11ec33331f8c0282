#!/bin/bash
# Downloads every package named in packages.txt: Debian source packages with `apt-get source
# --download-only` (needs a deb-src line; APT_CONFIG may point at a private apt configuration) and
# npm tarballs with `npm pack`. Nothing is installed.
#   download.sh DEST
set -u
here=$(cd "$(dirname "$0")" && pwd)
dest=$1
mkdir -p "$dest"/{deb,bin,npm}
fetch() {
  kind=$1 name=$2 dest=$3
  [ -e "$dest/$kind/${name//\//+}/.done" ] && return
  dir="$dest/$kind/${name//\//+}"
  mkdir -p "$dir" && cd "$dir" || return
  case $kind in
    deb) apt-get source --download-only --only-source -qq "$name" >log 2>&1 ;;
    bin) apt-get download -qq "$name" >log 2>&1 ;;
    npm) npm pack --silent "$name" >log 2>&1 ;;
  esac && touch .done || echo "failed: $kind $name" >&2
}
export -f fetch
awk '$1 == "deb" || $1 == "npm" || $1 == "bin" {print $1, $2}' "$here/packages.txt" |
  xargs -P 8 -L 1 bash -c 'fetch "$1" "$2" "$0"' "$dest"
