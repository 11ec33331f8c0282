// Rust.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_rust();

namespace fimd {

LanguageSpec rust_language() {
  return {
      .name = "rust",
      .ids = {"rust"},
      .extensions = {".rs"},
      .grammar = tree_sitter_rust,
      .line_comment = "//",
      .block_comment_open = "/*",
      .block_comment_close = "*/",
      .strings = {{"\"", "\"", true}},
      .quirks = kRawRust | kLifetimes | kNestedComments,
      .nodes = {{kStatement,
                 {"expression_statement", "let_declaration", "empty_statement", "attribute_item",
                  "inner_attribute_item", "associated_type"}},
                {kStatement | kCommaEnds, {"field_declaration", "match_arm", "enum_variant"}},
                {kStatement | kFunction,
                 {"function_item", "function_signature_item", "macro_definition"}},
                {kStatement | kType,
                 {"struct_item", "enum_item", "union_item", "trait_item", "impl_item", "mod_item",
                  "foreign_mod_item"}},
                {kStatement | kVariable, {"const_item", "static_item", "type_item"}},
                {kStatement | kImport, {"use_declaration", "extern_crate_declaration"}},
                {kBlock,
                 {"block", "declaration_list", "field_declaration_list", "enum_variant_list",
                  "match_block"}},
                {kArguments, {"arguments", "token_tree"}},
                {kString, {"string_literal", "raw_string_literal", "char_literal"}},
                {kComment, {"line_comment", "block_comment"}}},
      .continuing_words = {"else"},
  };
}

}  // namespace fimd
