#!/bin/bash
# Writes a private apt configuration with the machine's own sources, source packages included, and
# fetches its package lists; nothing of the machine's configuration changes. Prints its path.
#   APT_CONFIG=$(apt_config.sh DIR) apt-get source ...
set -eu
dir=$(realpath -m "$1")/apt
if [ ! -e "$dir/.done" ]; then
  mkdir -p "$dir/parts" "$dir/lists/partial" "$dir/cache/archives/partial"
  for list in /etc/apt/sources.list.d/*.sources; do
    [ -e "$list" ] && sed 's/^Types:.*/Types: deb deb-src/' "$list" >"$dir/parts/${list##*/}"
  done
  for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -e "$list" ] && sed -n 's/^deb \(.*\)/deb \1\ndeb-src \1/p' "$list" >"$dir/parts/${list##*/}"
  done
  mv "$dir/parts/sources.list" "$dir/parts/sources-list.list" 2>/dev/null || true
  cat >"$dir/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$dir/parts";
Dir::State::lists "$dir/lists";
Dir::Cache "$dir/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
CONF
  APT_CONFIG=$dir/apt.conf apt-get update -qq >&2
  touch "$dir/.done"
fi
echo "$dir/apt.conf"
