#include "context/language.h"

#include <tree_sitter/api.h>

#include <algorithm>
#include <string>
#include <utility>

#include "context/languages/all.h"

namespace fimd {
namespace {

std::vector<Language> make_languages() {
  std::vector<Language> table;
  for (const auto make :
       {python_language, c_language, cpp_language, cuda_language, javascript_language,
        typescript_language, tsx_language, go_language, rust_language, java_language, lua_language,
        bash_language, json_language, yaml_language, markdown_language}) {
    table.emplace_back(make());
  }
  return table;
}

bool contains(const std::vector<std::string_view>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

}  // namespace

Language::Language(LanguageSpec spec) : spec_(std::move(spec)), grammar_(spec_.grammar()) {
  const uint32_t symbols = ts_language_symbol_count(grammar_);
  roles_.resize(symbols);
  for (uint32_t symbol = 0; symbol < symbols; ++symbol) {
    const auto id = static_cast<TSSymbol>(symbol);
    if (ts_language_symbol_type(grammar_, id) != TSSymbolTypeRegular) continue;
    const std::string_view name = ts_language_symbol_name(grammar_, id);
    for (const NodeKinds& row : spec_.nodes) {
      if (contains(row.kinds, name)) roles_[symbol] |= row.roles;
    }
  }
}

std::vector<std::string_view> Language::unknown_kinds() const {
  std::vector<std::string_view> unknown;
  for (const NodeKinds& row : spec_.nodes) {
    for (const std::string_view kind : row.kinds) {
      const TSSymbol symbol = ts_language_symbol_for_name(grammar_, kind.data(),
                                                          static_cast<uint32_t>(kind.size()), true);
      if (symbol == 0) unknown.push_back(kind);
    }
  }
  return unknown;
}

const std::vector<Language>& languages() {
  static const std::vector<Language> table = make_languages();
  return table;
}

const Language* find_language(std::string_view language_id, std::string_view path) {
  const size_t slash = path.rfind('/');
  const std::string_view file = slash == std::string_view::npos ? path : path.substr(slash + 1);
  const size_t dot = file.rfind('.');
  std::string extension(dot == std::string_view::npos ? "" : file.substr(dot));
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  // Editors call .cu files "cpp" and .tsx files "typescript" now and then: the extension knows
  // better between languages that share an id's family.
  const Language* by_id = nullptr;
  const Language* by_path = nullptr;
  for (const Language& language : languages()) {
    if (by_id == nullptr && contains(language.spec().ids, language_id)) by_id = &language;
    const bool named = contains(language.spec().file_names, file) ||
                       (!extension.empty() && contains(language.spec().extensions, extension));
    if (by_path == nullptr && named) by_path = &language;
  }
  if (by_id == nullptr) return by_path;
  if (by_path != nullptr && ((by_id->name() == "cpp" && by_path->name() == "cuda") ||
                             (by_id->name() == "typescript" && by_path->name() == "tsx"))) {
    return by_path;
  }
  return by_id;
}

}  // namespace fimd
