// Markdown: block structure only; the text inside of blocks is not parsed.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_markdown();

namespace fimd {

LanguageSpec markdown_language() {
  return {
      .name = "markdown",
      .ids = {"markdown", "mdx"},
      .extensions = {".md", ".markdown", ".mdx"},
      .grammar = tree_sitter_markdown,
      .blocks = BlockStyle::kParagraphs,
      .block_comment_open = "<!--",
      .block_comment_close = "-->",
      .nodes = {{kStatement,
                 {"atx_heading", "setext_heading", "paragraph", "fenced_code_block",
                  "indented_code_block", "list_item", "pipe_table", "thematic_break"}},
                {kType, {"section"}},
                {kBlock, {"block_quote", "list"}}},
  };
}

}  // namespace fimd
