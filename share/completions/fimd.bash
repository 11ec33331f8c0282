# bash completion for fimd
_fimd() {
  local cur=${COMP_WORDS[COMP_CWORD]} command= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      --config) ((i++)) ;;
      -*) ;;
      *)
        command=${COMP_WORDS[i]}
        break
        ;;
    esac
  done
  case ${COMP_WORDS[COMP_CWORD - 1]} in
    --config | --socket | --model)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      return
      ;;
    --idle-timeout | --candidates | --lines | --jumps | --switches | --plan | --tokens | --repeat | --text) return ;;
  esac
  local words=--help
  case $command in
    '') words='lsp daemon complete explain review refactor fix document status stop doctor bench tokenize config --config --version --help' ;;
    lsp) words='--in-process --stdio --help' ;;
    daemon) words='--socket --idle-timeout --help' ;;
    complete) words='--explain --json --candidates --model --in-process --help' ;;
    explain | review) words='--json --model --in-process --help' ;;
    refactor | fix | document) words='--write --json --model --in-process --help' ;;
    status) words='--json --help' ;;
    doctor) words='--plan --help' ;;
    bench) words='keystrokes prefill decode --lines --jumps --switches --plain --tokens --repeat --model --backend --new-tokens --help' ;;
    tokenize) words='--text --model --ids --count --help' ;;
    config) words='--check --help' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  if [[ $cur != -* && $command == @(complete|explain|review|refactor|fix|document|tokenize|bench) ]]; then
    compopt -o filenames 2>/dev/null
    local files
    mapfile -t files < <(compgen -f -- "$cur")
    COMPREPLY+=("${files[@]}")
  fi
}
complete -F _fimd fimd
