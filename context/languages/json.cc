// JSON, with comments as editors allow them.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_json();

namespace fimd {

LanguageSpec json_language() {
  return {
      .name = "json",
      .ids = {"json", "jsonc", "json5"},
      .extensions = {".json", ".jsonc", ".json5", ".webmanifest", ".geojson"},
      .file_names = {".babelrc", ".eslintrc", ".prettierrc"},
      .grammar = tree_sitter_json,
      .line_comment = "//",
      .block_comment_open = "/*",
      .block_comment_close = "*/",
      .strings = {{"\"", "\""}},
      .nodes = {{kStatement | kCommaEnds, {"pair"}},
                {kBlock, {"object"}},
                {kString, {"string"}},
                {kComment, {"comment"}}},
  };
}

}  // namespace fimd
