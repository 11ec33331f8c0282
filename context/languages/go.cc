// Go.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_go();

namespace fimd {

LanguageSpec go_language() {
  return {
      .name = "go",
      .ids = {"go"},
      .extensions = {".go"},
      .grammar = tree_sitter_go,
      .line_comment = "//",
      .block_comment_open = "/*",
      .block_comment_close = "*/",
      .strings = {{"\"", "\""}, {"'", "'"}, {"`", "`", true, false}},
      .nodes = {{kStatement | kNewlineEnds,
                 {"assignment_statement",  "break_statement",       "continue_statement",
                  "dec_statement",         "defer_statement",       "expression_statement",
                  "fallthrough_statement", "go_statement",          "goto_statement",
                  "inc_statement",         "labeled_statement",     "return_statement",
                  "send_statement",        "short_var_declaration", "field_declaration",
                  "method_elem",           "package_clause",        "expression_switch_statement",
                  "for_statement",         "select_statement",      "type_switch_statement",
                  "if_statement"}},
                {kStatement | kNewlineEnds | kImport, {"import_declaration"}},
                {kStatement | kNewlineEnds | kFunction,
                 {"function_declaration", "method_declaration"}},
                {kStatement | kNewlineEnds | kVariable,
                 {"const_declaration", "var_declaration", "type_declaration"}},
                {kStatement | kSection,
                 {"expression_case", "type_case", "default_case", "communication_case"}},
                {kStatement | kBlock, {"block"}},
                {kBlock, {"field_declaration_list", "interface_type"}},
                {kArguments, {"argument_list"}},
                {kString, {"interpreted_string_literal", "raw_string_literal", "rune_literal"}},
                {kComment, {"comment"}}},
  };
}

}  // namespace fimd
