// Lua.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_lua();

namespace fimd {

LanguageSpec lua_language() {
  return {
      .name = "lua",
      .ids = {"lua", "luau"},
      .extensions = {".lua"},
      .grammar = tree_sitter_lua,
      .blocks = BlockStyle::kKeywords,
      .line_comment = "--",
      .strings = {{"\"", "\""}, {"'", "'"}},
      .quirks = kLongBrackets,
      .nodes = {{kStatement,
                 {"assignment_statement", "break_statement", "do_statement", "empty_statement",
                  "for_statement", "goto_statement", "if_statement", "label_statement",
                  "repeat_statement", "while_statement", "return_statement"}},
                {kStatement | kFunction, {"function_declaration"}},
                {kStatement | kVariable, {"variable_declaration"}},
                {kBlock, {"block"}},
                {kArguments, {"arguments"}},
                {kString, {"string"}},
                {kComment, {"comment", "hash_bang_line"}}},
      .continuing_words = {"else", "elseif", "and", "or"},
      .opening_words = {"function", "do", "if", "repeat"},
      .closing_words = {"end", "until"},
      .middle_words = {"else", "elseif"},
      .body_words = {"then", "do", "else", "repeat"},
  };
}

}  // namespace fimd
