// JavaScript with JSX.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_javascript();

namespace fimd {

LanguageSpec javascript_language() {
  return {
      .name = "javascript",
      .ids = {"javascript", "javascriptreact"},
      .extensions = {".js", ".jsx", ".mjs", ".cjs"},
      .grammar = tree_sitter_javascript,
      .line_comment = "//",
      .block_comment_open = "/*",
      .block_comment_close = "*/",
      .strings = {{"\"", "\""}, {"'", "'"}, {"`", "`", true}},
      .quirks = kRegexLiterals | kTemplates,
      .nodes = {{kStatement,
                 {"break_statement", "continue_statement", "debugger_statement", "do_statement",
                  "empty_statement", "expression_statement", "for_in_statement", "for_statement",
                  "if_statement", "labeled_statement", "return_statement", "switch_statement",
                  "throw_statement", "try_statement", "while_statement", "with_statement",
                  "field_definition"}},
                {kStatement | kImport, {"import_statement"}},
                {kStatement | kType, {"class_declaration", "export_statement"}},
                {kStatement | kFunction,
                 {"function_declaration", "generator_function_declaration", "method_definition"}},
                {kStatement | kVariable,
                 {"lexical_declaration", "variable_declaration", "using_declaration"}},
                {kStatement | kSection, {"switch_case", "switch_default"}},
                {kStatement | kBlock, {"statement_block"}},
                {kBlock, {"class_body", "switch_body", "class_static_block"}},
                {kArguments, {"arguments"}},
                {kString, {"string", "template_string", "regex"}},
                {kInterpolation, {"template_substitution"}},
                {kComment, {"comment", "html_comment", "hash_bang_line"}}},
      .continuing_words = {"else", "catch", "finally", "while", "instanceof", "in"},
  };
}

}  // namespace fimd
