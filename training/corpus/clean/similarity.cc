#include "similarity.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <unordered_map>

#include "text_filters.h"
#include "text_hash.h"

namespace fimd::corpus {
namespace {

constexpr int kRowsPerBand = 4;  // 24 bands of 4 rows
constexpr double kNearDuplicate = 0.72;

}  // namespace

void sign(Document& d) {
  auto tokens = token_hashes(d.text);
  std::uint64_t h = 0;
  for (auto t : tokens) h = mix(h * 31 + t);
  d.hash = h;
  auto shingles = shingles_of(tokens, 5);
  d.signature.fill(0xffffffffU);
  for (auto s : shingles) {
    auto bin = static_cast<std::size_t>((s >> 40) % kBins);
    d.signature[bin] = std::min(d.signature[bin], static_cast<std::uint32_t>(s));
  }
  for (int i = 0; i < kBins; ++i) {  // densification by rotation
    if (d.signature[i] != 0xffffffffU) continue;
    for (int k = 1; k < kBins; ++k) {
      auto v = d.signature[(i + k) % kBins];
      if (v != 0xffffffffU) {
        d.signature[i] = static_cast<std::uint32_t>(mix(v + static_cast<std::uint64_t>(k) * 7919));
        break;
      }
    }
  }
}

bool Decontamination::hits(const Document& d) const {
  for (auto s : shingles_of(token_hashes(d.text), 30)) {
    if (shingles.count(s)) return true;
  }
  if (d.language != "python" && d.language != "markdown") return false;
  for (const auto& [def, lines] : functions) {
    if (!contains(d.text, def)) continue;
    for (const auto& line : lines) {
      if (contains(d.text, line)) return true;
    }
  }
  return false;
}

Decontamination read_decontamination(const std::string& file) {
  Decontamination out;
  std::ifstream in(file);
  std::set<std::string> seen;
  for (std::string line; std::getline(in, line);) {
    auto j = nlohmann::json::parse(line);
    if (!j.contains("prompt")) {  // one of our own items: only the neighbourhood of the line counts
      std::string before = j["prefix"], middle = j["middle"], after = j["suffix"];
      if (before.size() > 400) before.erase(0, before.size() - 400);
      auto tokens = token_hashes(before + middle + after.substr(0, 300));
      auto shingles = shingles_of(tokens, 30);
      for (std::size_t i = 0; i < shingles.size(); ++i) {
        std::set<std::uint64_t> distinct(tokens.begin() + i, tokens.begin() + i + 30);
        if (distinct.size() >= 14) out.shingles.insert(shingles[i]);  // not just rules and brackets
      }
      continue;
    }
    std::string prompt = j["prompt"];
    std::string whole =
        prompt + j["canonical_solution"].get<std::string>() + j["suffix"].get<std::string>();
    if (!seen.insert(whole).second) continue;
    for (auto s : shingles_of(token_hashes(whole), 30)) out.shingles.insert(s);
    std::pair<std::string, std::vector<std::string>> f{
        "def " + j["entry_point"].get<std::string>() + "(", {}};
    std::istringstream rows(whole);
    for (std::string row; std::getline(rows, row);) {
      std::size_t b = row.find_first_not_of(" \t\"'");
      if (b != std::string::npos && row.size() - b >= 24 && !contains(row, "def ") &&
          !contains(row, "import ")) {
        f.second.push_back(row.substr(b));
      }
    }
    out.functions.push_back(std::move(f));
  }
  return out;
}

void deduplicate(std::vector<Document>& docs) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < docs.size(); ++i) {
    if (docs[i].reason.empty()) order.push_back(i);
  }
  // Held-out documents first, so that training copies of them are the ones to go.
  std::stable_partition(order.begin(), order.end(),
                        [&](std::size_t i) { return docs[i].held_out; });
  std::unordered_map<std::uint64_t, std::size_t> exact;
  constexpr int kBands = kBins / kRowsPerBand;
  std::vector<std::unordered_map<std::uint64_t, std::size_t>> bands(kBands);
  for (auto i : order) {
    Document& d = docs[i];
    if (!exact.emplace(d.hash, i).second) {
      d.reason = "exact duplicate";
      continue;
    }
    std::array<std::uint64_t, kBands> keys{};
    for (int b = 0; b < kBands && d.reason.empty(); ++b) {
      std::uint64_t key = static_cast<std::uint64_t>(b);
      for (int r = 0; r < kRowsPerBand; ++r)
        key = mix(key * 31 + d.signature[b * kRowsPerBand + r]);
      keys[b] = key;
      auto it = bands[b].find(key);
      if (it == bands[b].end()) continue;
      const Document& other = docs[it->second];
      int same = 0;
      for (int k = 0; k < kBins; ++k) same += d.signature[k] == other.signature[k];
      if (same >= kNearDuplicate * kBins) d.reason = "near duplicate";
    }
    if (!d.reason.empty()) continue;
    for (int b = 0; b < kBands; ++b) bands[b].emplace(keys[b], i);
  }
}

}  // namespace fimd::corpus
