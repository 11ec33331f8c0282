#include "context/language.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

namespace fimd {
namespace {

TEST_CASE("every node kind of a language exists in its grammar") {
  for (const Language& language : languages()) {
    for (const std::string_view kind : language.unknown_kinds()) {
      FAIL_CHECK(std::string(language.name()) << " has no node kind " << std::string(kind));
    }
  }
}

TEST_CASE("no id, extension or file name belongs to two languages") {
  std::set<std::string> seen;
  for (const Language& language : languages()) {
    for (const auto& list :
         {language.spec().ids, language.spec().extensions, language.spec().file_names}) {
      for (const std::string_view name : list) {
        CHECK_MESSAGE(seen.insert(std::string(name)).second, std::string(name));
      }
    }
  }
}

const char* name_of(const char* id, const char* path) {
  const Language* language = find_language(id, path);
  return language == nullptr ? "none" : language->name().data();
}

TEST_CASE("a language is found by id, then by path") {
  CHECK(std::string(name_of("python", "x")) == "python");
  CHECK(std::string(name_of("", "/a/b.PY")) == "python");
  CHECK(std::string(name_of("plaintext", "/a/b.rs")) == "rust");
  CHECK(std::string(name_of("cpp", "/a/kernel.cu")) == "cuda");
  CHECK(std::string(name_of("cuda-cpp", "/a/kernel.cu")) == "cuda");
  CHECK(std::string(name_of("typescriptreact", "/a/b.tsx")) == "tsx");
  CHECK(std::string(name_of("typescript", "/a/b.tsx")) == "tsx");
  CHECK(std::string(name_of("c", "/a/b.h")) == "c");
  CHECK(std::string(name_of("", "/a/b.h")) == "cpp");
  CHECK(std::string(name_of("shellscript", "/home/x/.bashrc")) == "bash");
  CHECK(std::string(name_of("", "/a/Makefile")) == "none");
  CHECK(std::string(name_of("", "")) == "none");
}

}  // namespace
}  // namespace fimd
