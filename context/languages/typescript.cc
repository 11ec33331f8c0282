// TypeScript and TSX: JavaScript's kinds and those of types.
#include "context/languages/all.h"

extern "C" const TSLanguage* tree_sitter_typescript();
extern "C" const TSLanguage* tree_sitter_tsx();

namespace fimd {

LanguageSpec typescript_language() {
  LanguageSpec spec = javascript_language();
  spec.name = "typescript";
  spec.ids = {"typescript"};
  spec.extensions = {".ts", ".mts", ".cts"};
  spec.grammar = tree_sitter_typescript;
  for (NodeKinds& row : spec.nodes) {
    std::erase_if(row.kinds, [](std::string_view kind) {
      return kind == "field_definition" || kind == "using_declaration";
    });
  }
  spec.nodes.insert(spec.nodes.end(),
                    {{kStatement,
                      {"public_field_definition", "property_signature", "index_signature",
                       "construct_signature", "call_signature"}},
                     {kStatement | kImport, {"import_alias"}},
                     {kStatement | kType,
                      {"interface_declaration", "abstract_class_declaration", "ambient_declaration",
                       "internal_module", "module"}},
                     {kStatement | kVariable, {"type_alias_declaration", "enum_declaration"}},
                     {kStatement | kFunction,
                      {"function_signature", "method_signature", "abstract_method_signature"}},
                     {kBlock, {"interface_body", "enum_body"}}});
  return spec;
}

LanguageSpec tsx_language() {
  LanguageSpec spec = typescript_language();
  spec.name = "tsx";
  spec.ids = {"typescriptreact", "tsx"};
  spec.extensions = {".tsx"};
  spec.grammar = tree_sitter_tsx;
  return spec;
}

}  // namespace fimd
