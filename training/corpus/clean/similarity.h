// Documents that say what others say: evaluation items, and each other.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "document.h"

namespace fimd::corpus {

/// Gives the document its hash and signature.
void sign(Document& d);

/// What no training document may share with evaluation.
struct Decontamination {
  std::unordered_set<std::uint64_t> shingles;
  /// "def name(", lines of its documentation.
  std::vector<std::pair<std::string, std::vector<std::string>>> functions;

  bool hits(const Document& d) const;
};

/// JSON lines: HumanEval's functions, or items with a prefix, a middle and a suffix.
Decontamination read_decontamination(const std::string& file);

/// Drops all but the first of equal and nearly equal documents that are signed and kept so far.
void deduplicate(std::vector<Document>& docs);

}  // namespace fimd::corpus
