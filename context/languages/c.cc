// C.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_c();

namespace fimd {

LanguageSpec c_language() {
  return {
      .name = "c",
      .ids = {"c"},
      .extensions = {".c"},
      .grammar = tree_sitter_c,
      .line_comment = "//",
      .block_comment_open = "/*",
      .block_comment_close = "*/",
      .strings = {{"\"", "\""}, {"'", "'"}},
      .nodes = {{kStatement,
                 {"attributed_statement", "break_statement", "continue_statement", "do_statement",
                  "expression_statement", "for_statement", "goto_statement", "if_statement",
                  "labeled_statement", "return_statement", "switch_statement", "while_statement",
                  "seh_try_statement", "seh_leave_statement", "field_declaration",
                  "linkage_specification"}},
                {kStatement | kSection, {"case_statement"}},
                {kStatement | kBlock, {"compound_statement"}},
                {kStatement | kFunction, {"function_definition"}},
                {kStatement | kVariable, {"declaration", "type_definition"}},
                {kType, {"struct_specifier", "union_specifier", "enum_specifier"}},
                {kStatement | kNewlineEnds | kVariable, {"preproc_def", "preproc_function_def"}},
                {kStatement | kNewlineEnds | kImport, {"preproc_include"}},
                {kStatement | kNewlineEnds, {"preproc_call"}},
                {kBlock, {"field_declaration_list", "declaration_list", "enumerator_list"}},
                {kArguments, {"argument_list"}},
                {kString, {"string_literal", "char_literal", "system_lib_string"}},
                {kComment, {"comment"}}},
      .continuing_words = {"else", "while"},
  };
}

}  // namespace fimd
