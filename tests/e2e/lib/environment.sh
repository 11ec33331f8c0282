# A place for one test run: the program, its model, and XDG directories that touch nothing of the user's.
#
# To be sourced after setting e2e_root to the repository.

# Sets FIMD_E2E_BIN, FIMD_MODEL and FIMD_E2E_WORK; exports an isolated environment.
e2e_environment() {
  local candidate
  if [[ -z ${FIMD_E2E_BIN:-} ]]; then
    for candidate in "$e2e_root"/build/{release,dev}/lsp/fimd; do
      if [[ -x $candidate ]]; then
        FIMD_E2E_BIN=$candidate
        break
      fi
    done
  fi
  if [[ ! -x ${FIMD_E2E_BIN:-} ]]; then
    echo "e2e: no fimd in build/; run scripts/build release first, or set FIMD_E2E_BIN" >&2
    return 1
  fi
  : "${FIMD_MODEL:=$e2e_root/models/fimd-small.gguf}"
  if [[ ! -f $FIMD_MODEL ]]; then
    echo "e2e: no model at $FIMD_MODEL" >&2
    return 1
  fi
  # Socket paths must be short, so not in a deep TMPDIR.
  FIMD_E2E_WORK=$(mktemp -d /tmp/fimd-e2e.XXXXXX)
  export FIMD_E2E_BIN FIMD_MODEL FIMD_E2E_WORK
  export HOME=$FIMD_E2E_WORK/home
  export XDG_CONFIG_HOME=$FIMD_E2E_WORK/config XDG_DATA_HOME=$FIMD_E2E_WORK/data
  export XDG_STATE_HOME=$FIMD_E2E_WORK/state XDG_CACHE_HOME=$FIMD_E2E_WORK/cache
  export XDG_RUNTIME_DIR=$FIMD_E2E_WORK/run
  export XDG_CONFIG_DIRS=$FIMD_E2E_WORK/none XDG_DATA_DIRS=$FIMD_E2E_WORK/none
  export LANG=C.UTF-8 LC_ALL=C.UTF-8 NVIM_LOG_FILE=$FIMD_E2E_WORK/nvim.log
  unset NVIM VIM VIMINIT MYVIMRC FIMD_CONFIG FIMD_SOCKET
  mkdir -p "$HOME" "$XDG_CONFIG_HOME" "$XDG_STATE_HOME" "$XDG_CACHE_HOME" "$XDG_DATA_HOME"
  mkdir -m 700 "$XDG_RUNTIME_DIR"
  # The tests are about editors: suggestions must not come and go with the model's confidence.
  mkdir -p "$XDG_CONFIG_HOME/fimd"
  printf '[completion]\nmin_mean_logprob = -100\n' >"$XDG_CONFIG_HOME/fimd/config.toml"
  trap e2e_clean_up EXIT
}

# Ends the daemon of this run; keeps its log if FIMD_E2E_KEEP is set.
e2e_clean_up() {
  "$FIMD_E2E_BIN" stop >/dev/null 2>&1 || true
  # A client that was about to end may have started another one: all of ours have the folder's name.
  local pid
  for pid in $(pgrep -f -- "--socket $FIMD_E2E_WORK/"); do kill "$pid" 2>/dev/null || true; done
  if [[ -n ${FIMD_E2E_KEEP:-} ]]; then
    echo "e2e: kept $FIMD_E2E_WORK" >&2
  else
    rm -rf "$FIMD_E2E_WORK"
  fi
}
