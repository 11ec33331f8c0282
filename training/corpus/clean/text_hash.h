// Hashes of bytes, of a text's tokens and of runs of these. They decide what is kept, so they must
// stay as they are for a corpus to be made again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace fimd::corpus {

std::uint64_t mix(std::uint64_t x);
std::uint64_t hash_bytes(std::string_view s);

/// Words and single punctuation marks, without white space.
std::vector<std::uint64_t> token_hashes(std::string_view text);
/// Every run of n tokens.
std::vector<std::uint64_t> shingles_of(const std::vector<std::uint64_t>& tokens, std::size_t n);

}  // namespace fimd::corpus
