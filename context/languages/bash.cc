// Bash and other Bourne shells.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_bash();

namespace fimd {

LanguageSpec bash_language() {
  return {
      .name = "bash",
      .ids = {"shellscript", "bash", "sh", "zsh", "ksh"},
      .extensions = {".sh", ".bash", ".zsh", ".ksh", ".bats", ".ebuild"},
      .file_names = {".bashrc", ".bash_profile", ".bash_aliases", ".profile", ".zshrc", "PKGBUILD"},
      .grammar = tree_sitter_bash,
      .blocks = BlockStyle::kKeywords,
      .line_comment = "#",
      .strings = {{"\"", "\"", true}, {"'", "'", true, false}},
      .quirks = kHashInWords | kHeredocs | kCasePatterns,
      .nodes = {{kStatement | kNewlineEnds,
                 {"c_style_for_statement", "case_statement", "command", "declaration_command",
                  "for_statement", "if_statement", "list", "negated_command", "pipeline",
                  "redirected_statement", "subshell", "test_command", "unset_command",
                  "variable_assignments", "while_statement"}},
                {kStatement | kNewlineEnds | kVariable, {"variable_assignment"}},
                {kStatement | kNewlineEnds | kFunction, {"function_definition"}},
                {kStatement | kNewlineEnds | kBlock, {"compound_statement"}},
                {kBlock, {"do_group"}},
                {kString, {"string", "raw_string", "ansi_c_string", "heredoc_body"}},
                {kInterpolation, {"command_substitution", "expansion", "simple_expansion"}},
                {kComment, {"comment"}}},
      .continuing_words = {"else", "elif"},
      .opening_words = {"do", "if", "case"},
      .closing_words = {"done", "fi", "esac"},
      .middle_words = {"else", "elif"},
      .body_words = {"then", "do", "else"},
  };
}

}  // namespace fimd
