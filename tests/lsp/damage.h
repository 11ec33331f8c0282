// Damages messages at random places.
#pragma once

#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>

namespace fimd::lsp {

/// Replaces one random value inside `json` by something else.
inline void damage(nlohmann::json* json, std::mt19937* random) {
  const auto pick = [&](size_t n) { return static_cast<size_t>((*random)()) % n; };
  while (json->is_structured() && !json->empty() && pick(4) != 0) {
    auto it = json->begin();
    std::advance(it, static_cast<std::ptrdiff_t>(pick(json->size())));
    json = &*it;
  }
  switch (pick(9)) {
    case 0:
      *json = nullptr;
      break;
    case 1:
      *json = -1;
      break;
    case 2:
      *json = INT64_MAX;
      break;
    case 3:
      *json = 1e300;
      break;
    case 4:
      *json = "text";
      break;
    case 5:
      *json = nlohmann::json::array({1, "x", nullptr});
      break;
    case 6:
      *json = nlohmann::json::object({{"line", 0}});
      break;
    case 7:
      *json = true;
      break;
    default:
      *json = UINT64_MAX;
  }
}

}  // namespace fimd::lsp
