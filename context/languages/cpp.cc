// C++ and CUDA, which is parsed as C++.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_cpp();

namespace fimd {

LanguageSpec cpp_language() {
  return {
      .name = "cpp",
      .ids = {"cpp", "c++", "objective-cpp"},
      .extensions = {".cc", ".cpp", ".cxx", ".c++", ".h", ".hh", ".hpp", ".hxx", ".h++", ".ipp",
                     ".inl", ".tpp", ".ixx", ".cppm", ".ino"},
      .grammar = tree_sitter_cpp,
      .line_comment = "//",
      .block_comment_open = "/*",
      .block_comment_close = "*/",
      .strings = {{"\"", "\""}, {"'", "'"}},
      .quirks = kRawCpp | kDigitSeparators,
      .nodes =
          {{kStatement, {"attributed_statement",  "break_statement",
                         "continue_statement",    "co_return_statement",
                         "co_yield_statement",    "do_statement",
                         "expression_statement",  "for_range_loop",
                         "for_statement",         "goto_statement",
                         "if_statement",          "labeled_statement",
                         "return_statement",      "switch_statement",
                         "throw_statement",       "try_statement",
                         "while_statement",       "seh_try_statement",
                         "seh_leave_statement",   "field_declaration",
                         "linkage_specification", "static_assert_declaration",
                         "friend_declaration",    "template_instantiation"}},
           {kStatement | kSection, {"case_statement"}},
           {kStatement | kBlock, {"compound_statement"}},
           {kStatement | kFunction, {"function_definition"}},
           {kStatement | kVariable,
            {"declaration", "type_definition", "alias_declaration", "concept_definition"}},
           {kStatement | kType, {"namespace_definition", "template_declaration"}},
           {kType, {"class_specifier", "struct_specifier", "union_specifier", "enum_specifier"}},
           {kStatement | kImport, {"using_declaration", "namespace_alias_definition"}},
           {kStatement | kNewlineEnds | kVariable, {"preproc_def", "preproc_function_def"}},
           {kStatement | kNewlineEnds | kImport, {"preproc_include"}},
           {kStatement | kNewlineEnds, {"preproc_call"}},
           {kBlock,
            {"field_declaration_list", "declaration_list", "enumerator_list", "requirement_seq"}},
           {kArguments, {"argument_list"}},
           {kString, {"string_literal", "raw_string_literal", "char_literal", "system_lib_string"}},
           {kComment, {"comment"}}},
      .continuing_words = {"else", "while", "catch"},
  };
}

LanguageSpec cuda_language() {
  LanguageSpec spec = cpp_language();
  spec.name = "cuda";
  spec.ids = {"cuda", "cuda-cpp"};
  spec.extensions = {".cu", ".cuh"};
  return spec;
}

}  // namespace fimd
