// Python.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_python();

namespace fimd {

LanguageSpec python_language() {
  return {
      .name = "python",
      .ids = {"python"},
      .extensions = {".py", ".pyi", ".pyw"},
      .file_names = {"SConstruct", "SConscript", "wscript"},
      .grammar = tree_sitter_python,
      .blocks = BlockStyle::kIndentation,
      .line_comment = "#",
      .strings = {{R"(""")", R"(""")", true}, {"'''", "'''", true}, {"\"", "\""}, {"'", "'"}},
      .nodes = {{kStatement | kNewlineEnds,
                 {"assert_statement", "break_statement", "continue_statement", "delete_statement",
                  "exec_statement", "expression_statement", "global_statement",
                  "nonlocal_statement", "pass_statement", "print_statement", "raise_statement",
                  "return_statement", "type_alias_statement"}},
                {kStatement | kNewlineEnds | kImport,
                 {"import_statement", "import_from_statement", "future_import_statement"}},
                {kStatement,
                 {"for_statement", "if_statement", "match_statement", "try_statement",
                  "while_statement", "with_statement"}},
                {kStatement | kFunction, {"function_definition"}},
                {kStatement | kType, {"class_definition"}},
                {kStatement | kType, {"decorated_definition"}},
                {kVariable, {"assignment"}},
                {kBlock, {"block"}},
                {kArguments, {"argument_list"}},
                {kString, {"string"}},
                {kInterpolation, {"interpolation"}},
                {kComment, {"comment"}}},
      .continuing_words = {"else", "elif", "except", "finally"},
      .header_words = {"def", "class", "if", "elif", "else", "for", "while", "with", "try",
                       "except", "finally", "match", "case", "async"},
  };
}

}  // namespace fimd
