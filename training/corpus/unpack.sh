#!/bin/bash
# Unpacks what download.sh fetched into DEST/tree/<package>.
#   unpack.sh DEST
set -u
dest=$1
unpack() {
  kind=$1 dir=$2 dest=$3
  out="$dest/tree/$kind/$(basename "$dir")"
  [ -e "$out/.done" ] && return
  mkdir -p "$out"
  case $kind in
    deb)
      for tar in "$dir"/*.orig.tar.* "$dir"/*.orig-*.tar.*; do
        [ -e "$tar" ] && [[ $tar != *.asc ]] || continue
        sub=$out
        [[ $tar =~ \.orig-([A-Za-z0-9-]+)\.tar ]] && sub=$out/${BASH_REMATCH[1]}
        mkdir -p "$sub"
        tar xf "$tar" -C "$sub" --strip-components=1 --no-same-owner --exclude='*/.git'
      done
      for tar in "$dir"/*.debian.tar.*; do [ -e "$tar" ] && tar xf "$tar" -C "$out"; done ;;
    bin) dpkg-deb -x "$dir"/*.deb "$out" ;;
    npm) tar xzf "$dir"/*.tgz -C "$out" --strip-components=1 --no-same-owner ;;
  esac
  touch "$out/.done"
}
export -f unpack
ls -d "$dest"/{deb,bin,npm}/*/ | sed 's:/$::' |
  awk -F/ '{print $(NF-1), $0}' | xargs -P 3 -L 1 bash -c 'unpack "$1" "$2" "$0"' "$dest" 
