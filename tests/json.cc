#include "tests/json.h"

#include <fstream>

namespace fimd::test {

nlohmann::json parse_json(std::string_view text) { return nlohmann::json::parse(text); }

nlohmann::json read_json(const std::string& path) {
  std::ifstream file(path);
  REQUIRE_MESSAGE(file, path << " cannot be read; tests run from the source directory");
  return nlohmann::json::parse(file);
}

std::string dump_json(const nlohmann::json& json) { return json.dump(); }

}  // namespace fimd::test
