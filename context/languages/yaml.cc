// YAML.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_yaml();

namespace fimd {

LanguageSpec yaml_language() {
  return {
      .name = "yaml",
      .ids = {"yaml", "dockercompose", "github-actions-workflow"},
      .extensions = {".yaml", ".yml"},
      .file_names = {".clang-format", ".clang-tidy", ".clangd"},
      .grammar = tree_sitter_yaml,
      .blocks = BlockStyle::kIndentation,
      .line_comment = "#",
      .strings = {{"\"", "\"", true}, {"'", "'", true, false}},
      .quirks = kHashInWords | kPlainScalars,
      .nodes = {{kStatement, {"block_mapping_pair", "block_sequence_item"}},
                {kBlock, {"block_mapping", "block_sequence"}},
                {kString, {"double_quote_scalar", "single_quote_scalar", "block_scalar"}},
                {kComment, {"comment"}}},
  };
}

}  // namespace fimd
