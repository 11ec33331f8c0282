// One function per language; language.cc puts them into the table.
#pragma once

#include "context/language.h"

namespace fimd {

LanguageSpec bash_language();
LanguageSpec c_language();
LanguageSpec cpp_language();
LanguageSpec cuda_language();
LanguageSpec go_language();
LanguageSpec java_language();
LanguageSpec javascript_language();
LanguageSpec json_language();
LanguageSpec lua_language();
LanguageSpec markdown_language();
LanguageSpec python_language();
LanguageSpec rust_language();
LanguageSpec tsx_language();
LanguageSpec typescript_language();
LanguageSpec yaml_language();

}  // namespace fimd
