// JSON in tests. nlohmann's parser and writer are compiled in json.cc, once: each file that has its
// own takes the compiler seconds longer.
#pragma once

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace fimd::test {

/// As strict as nlohmann_json is; throws what it throws.
nlohmann::json parse_json(std::string_view text);
/// The same of a file.
nlohmann::json read_json(const std::string& path);

std::string dump_json(const nlohmann::json& json);

}  // namespace fimd::test

/// How doctest writes values of checks that failed.
template <>
struct doctest::StringMaker<nlohmann::json> {
  static String convert(const nlohmann::json& json) {
    return String(fimd::test::dump_json(json).c_str());
  }
};
