#include "text_hash.h"

#include <cctype>

namespace fimd::corpus {
namespace {

bool is_word(unsigned char c) { return std::isalnum(c) || c == '_' || c >= 0x80; }

}  // namespace

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::uint64_t hash_bytes(std::string_view s) {
  std::uint64_t seed = 1469598103934665603ULL;
  for (unsigned char c : s) seed = (seed ^ c) * 1099511628211ULL;
  return mix(seed);
}

std::vector<std::uint64_t> token_hashes(std::string_view text) {
  std::vector<std::uint64_t> tokens;
  tokens.reserve(text.size() / 3);
  for (std::size_t i = 0; i < text.size();) {
    unsigned char c = text[i];
    if (std::isspace(c)) {
      ++i;
      continue;
    }
    std::size_t start = i++;
    if (is_word(c)) {
      while (i < text.size() && is_word(text[i])) ++i;
    }
    tokens.push_back(hash_bytes(text.substr(start, i - start)));
  }
  return tokens;
}

std::vector<std::uint64_t> shingles_of(const std::vector<std::uint64_t>& tokens, std::size_t n) {
  std::vector<std::uint64_t> out;
  for (std::size_t i = 0; i + n <= tokens.size(); ++i) {
    std::uint64_t h = 0;
    for (std::size_t j = 0; j < n; ++j) h = h * 0x9e3779b97f4a7c15ULL + tokens[i + j];
    out.push_back(mix(h));
  }
  return out;
}

}  // namespace fimd::corpus
