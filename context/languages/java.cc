// Java.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_java();

namespace fimd {

LanguageSpec java_language() {
  return {
      .name = "java",
      .ids = {"java"},
      .extensions = {".java"},
      .grammar = tree_sitter_java,
      .line_comment = "//",
      .block_comment_open = "/*",
      .block_comment_close = "*/",
      .strings = {{R"(""")", R"(""")", true}, {"\"", "\""}, {"'", "'"}},
      .nodes = {{kStatement, {"assert_statement",       "break_statement",
                              "continue_statement",     "do_statement",
                              "enhanced_for_statement", "expression_statement",
                              "for_statement",          "if_statement",
                              "labeled_statement",      "local_variable_declaration",
                              "return_statement",       "switch_expression",
                              "synchronized_statement", "throw_statement",
                              "try_statement",          "try_with_resources_statement",
                              "while_statement",        "yield_statement",
                              "package_declaration",    "explicit_constructor_invocation",
                              "static_initializer",     "switch_rule"}},
                {kStatement | kImport, {"import_declaration"}},
                {kStatement | kType,
                 {"class_declaration", "interface_declaration", "enum_declaration",
                  "record_declaration", "annotation_type_declaration"}},
                {kStatement | kFunction,
                 {"method_declaration", "constructor_declaration",
                  "compact_constructor_declaration"}},
                {kStatement | kVariable, {"field_declaration", "constant_declaration"}},
                {kStatement | kSection, {"switch_block_statement_group"}},
                {kStatement | kBlock, {"block"}},
                {kBlock,
                 {"class_body", "interface_body", "enum_body", "constructor_body", "switch_block",
                  "annotation_type_body"}},
                {kArguments, {"argument_list", "annotation_argument_list"}},
                {kString, {"string_literal", "character_literal"}},
                {kInterpolation, {"string_interpolation"}},
                {kComment, {"line_comment", "block_comment"}}},
      .continuing_words = {"else", "catch", "finally", "while"},
  };
}

}  // namespace fimd
