// A file on its way into the training corpus.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace fimd::corpus {

inline constexpr int kBins = 96;  // of a one-permutation MinHash

struct Document {
  std::string package, language, path, disk, repo;
  bool held_out = false, test = false;
  std::string text;
  std::string reason;  // why it was dropped; empty when kept
  std::uint64_t hash = 0;
  std::array<std::uint32_t, kBins> signature{};
};

}  // namespace fimd::corpus
