// Trains the byte-level BPE tokenizer: cuts a language-balanced sample of the corpus into pieces
// with the qwen2 pre-tokenizer regex, merges the most frequent pair until the vocabulary is full,
// and writes a Hugging Face tokenizer.json. Control tokens take the last ids.
//
//   train_bpe OUT/tokenizer.json DOCUMENTS.jsonl...
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <queue>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace {

constexpr int kVocabulary = 16384;
constexpr std::size_t kMaxTokenBytes = 32;
constexpr const char* kRegex =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const std::vector<std::string> kControls = {
    "<|endoftext|>",  "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|fim_pad|>",    "<|repo_name|>",  "<|file_sep|>",   "<|reserved_0|>",
    "<|reserved_1|>", "<|reserved_2|>", "<|reserved_3|>", "<|reserved_4|>",
    "<|reserved_5|>", "<|reserved_6|>", "<|reserved_7|>", "<|reserved_8|>"};

// Megabytes of each language in the sample.
const std::map<std::string, double> kSample = {
    {"python", 55}, {"c", 12},       {"cpp", 15}, {"javascript", 14}, {"typescript", 15},
    {"go", 13},     {"rust", 13},    {"java", 9}, {"lua", 5},         {"bash", 3},
    {"cuda", 2},    {"markdown", 4}, {"json", 1}, {"yaml", 1}};

// No package gives more than this many MB of one language, so that its own names take no tokens.
constexpr double kPackageLimit = 1.6;

using Counts = std::unordered_map<std::string, std::uint64_t>;

void CountPieces(const std::string& text, pcre2_code* code, pcre2_match_data* match,
                 Counts& counts) {
  PCRE2_SIZE pos = 0;
  while (pos < text.size()) {
    int rc = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), pos,
                         PCRE2_NO_UTF_CHECK, match, nullptr);
    if (rc < 0) break;
    PCRE2_SIZE* v = pcre2_get_ovector_pointer(match);
    if (v[1] == v[0]) break;
    ++counts[text.substr(v[0], v[1] - v[0])];
    pos = v[1];
  }
}

// The GPT-2 byte alphabet: printable bytes stand for themselves, the rest for U+0100 and up.
std::vector<std::string> ByteAlphabet(std::vector<int>& order) {
  std::vector<std::string> text(256);
  std::vector<bool> plain(256);
  for (int b = 0; b < 256; ++b) {
    plain[b] = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
    if (plain[b]) order.push_back(b);
  }
  int next = 256;
  auto utf8 = [](int c) {
    std::string s;
    if (c < 0x80) return s += static_cast<char>(c);
    s += static_cast<char>(0xc0 | (c >> 6));
    return s += static_cast<char>(0x80 | (c & 63));
  };
  for (int b = 0; b < 256; ++b) {
    if (plain[b]) {
      text[b] = utf8(b);
    } else {
      text[b] = utf8(next++);
      order.push_back(b);
    }
  }
  return text;
}

struct Word {
  std::vector<std::int32_t> ids;
  std::int64_t count;
};

struct Candidate {
  std::int64_t count;
  std::uint64_t pair;
  bool operator<(const Candidate& o) const {
    return count != o.count ? count < o.count : pair > o.pair;
  }
};

std::uint64_t Pair(std::int32_t a, std::int32_t b) {
  return static_cast<std::uint64_t>(a) << 32 | static_cast<std::uint32_t>(b);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: train_bpe TOKENIZER.json DOCUMENTS.jsonl...\n");
    return 2;
  }
  std::map<std::string, double> left = kSample;
  std::map<std::string, double> per_package;
  std::vector<std::string> texts;
  double total = 0;
  for (int i = 2; i < argc; ++i) {
    std::ifstream in(argv[i]);
    for (std::string line; std::getline(in, line);) {
      auto j = nlohmann::json::parse(line);
      auto& budget = left[j["lang"].get<std::string>()];
      auto& used = per_package[j["repo"].get<std::string>() + "\t" + j["lang"].get<std::string>()];
      if (budget <= 0 || used > kPackageLimit) continue;
      texts.push_back(j["text"].get<std::string>());
      budget -= texts.back().size() / 1e6;
      total += texts.back().size() / 1e6;
      used += texts.back().size() / 1e6;
    }
  }
  std::fprintf(stderr, "sample: %zu documents, %.1f MB\n", texts.size(), total);

  constexpr int kThreads = 2;
  std::vector<Counts> partial(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      int error = 0;
      PCRE2_SIZE offset = 0;
      pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kRegex), PCRE2_ZERO_TERMINATED,
                                       PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
      pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
      pcre2_match_data* match = pcre2_match_data_create_from_pattern(code, nullptr);
      for (std::size_t i = t; i < texts.size(); i += kThreads)
        CountPieces(texts[i], code, match, partial[t]);
      pcre2_match_data_free(match);
      pcre2_code_free(code);
    });
  }
  for (auto& t : threads) t.join();
  for (int t = 1; t < kThreads; ++t) {
    for (auto& [piece, n] : partial[t]) partial[0][piece] += n;
  }
  std::vector<std::pair<std::string, std::uint64_t>> pieces;
  for (auto& [piece, n] : partial[0]) {
    if (n >= 2) pieces.emplace_back(piece, n);
  }
  std::sort(pieces.begin(), pieces.end());
  std::fprintf(stderr, "%zu distinct pieces, %zu seen twice or more\n", partial[0].size(),
               pieces.size());

  std::vector<int> order;
  auto alphabet = ByteAlphabet(order);
  std::vector<std::int32_t> id_of(256);
  std::vector<std::string> tokens;   // in the byte alphabet
  std::vector<std::size_t> lengths;  // in bytes
  for (int b : order) {
    id_of[b] = static_cast<std::int32_t>(tokens.size());
    tokens.push_back(alphabet[b]);
    lengths.push_back(1);
  }
  std::vector<Word> words;
  std::unordered_map<std::uint64_t, std::int64_t> counts;
  std::unordered_map<std::uint64_t, std::vector<std::int32_t>> where;
  for (auto& [piece, n] : pieces) {
    Word w{{}, static_cast<std::int64_t>(n)};
    for (unsigned char c : piece) w.ids.push_back(id_of[c]);
    auto index = static_cast<std::int32_t>(words.size());
    for (std::size_t i = 0; i + 1 < w.ids.size(); ++i) {
      auto p = Pair(w.ids[i], w.ids[i + 1]);
      counts[p] += w.count;
      auto& list = where[p];
      if (list.empty() || list.back() != index) list.push_back(index);
    }
    words.push_back(std::move(w));
  }
  std::priority_queue<Candidate> queue;
  for (auto& [p, n] : counts) queue.push({n, p});

  std::vector<std::string> merges;
  const std::size_t target = kVocabulary - kControls.size();
  while (tokens.size() < target && !queue.empty()) {
    Candidate top = queue.top();
    queue.pop();
    auto it = counts.find(top.pair);
    if (it == counts.end() || it->second != top.count || top.count <= 0) {
      if (it != counts.end() && it->second > 0 && it->second < top.count)
        queue.push({it->second, top.pair});
      continue;
    }
    auto a = static_cast<std::int32_t>(top.pair >> 32), b = static_cast<std::int32_t>(top.pair);
    if (lengths[a] + lengths[b] > kMaxTokenBytes) {
      counts.erase(it);
      continue;
    }
    auto id = static_cast<std::int32_t>(tokens.size());
    merges.push_back(tokens[a] + " " + tokens[b]);
    tokens.push_back(tokens[a] + tokens[b]);
    lengths.push_back(lengths[a] + lengths[b]);
    std::vector<std::int32_t> list = std::move(where[top.pair]);
    where.erase(top.pair);
    counts.erase(top.pair);
    std::unordered_map<std::uint64_t, bool> changed;
    for (auto w : list) {
      auto& ids = words[w].ids;
      const auto n = words[w].count;
      std::vector<std::int32_t> out;
      out.reserve(ids.size());
      bool hit = false;
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (i + 1 < ids.size() && ids[i] == a && ids[i + 1] == b) {
          out.push_back(id);
          ++i;
          hit = true;
        } else {
          out.push_back(ids[i]);
        }
      }
      if (!hit) continue;
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        auto p = Pair(ids[i], ids[i + 1]);
        if (p != top.pair) counts[p] -= n;
      }
      for (std::size_t i = 0; i + 1 < out.size(); ++i) {
        auto p = Pair(out[i], out[i + 1]);
        counts[p] += n;
        if (out[i] == id || out[i + 1] == id) {
          auto& l = where[p];
          if (l.empty() || l.back() != w) l.push_back(w);
          changed[p] = true;
        }
      }
      ids = std::move(out);
    }
    for (auto& [p, unused] : changed) {
      if (p != top.pair) queue.push({counts[p], p});
    }
    counts.erase(top.pair);
  }
  std::fprintf(stderr, "%zu tokens before the control tokens\n", tokens.size());

  nlohmann::ordered_json vocabulary, added = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) vocabulary[tokens[i]] = i;
  for (std::size_t i = 0; i < kControls.size(); ++i) {
    auto id = target + i;
    vocabulary[kControls[i]] = id;
    added.push_back({{"id", id},
                     {"content", kControls[i]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  nlohmann::ordered_json byte_level = {{"type", "ByteLevel"},
                                       {"add_prefix_space", false},
                                       {"trim_offsets", false},
                                       {"use_regex", false}};
  nlohmann::ordered_json split = {{"type", "Split"},
                                  {"pattern", {{"Regex", kRegex}}},
                                  {"behavior", "Isolated"},
                                  {"invert", false}};
  nlohmann::ordered_json out;
  out["version"] = "1.0";
  out["truncation"] = nullptr;
  out["padding"] = nullptr;
  out["added_tokens"] = added;
  out["normalizer"] = nullptr;
  out["pre_tokenizer"] = {{"type", "Sequence"},
                          {"pretokenizers", nlohmann::ordered_json::array({split, byte_level})}};
  out["post_processor"] = nullptr;
  out["decoder"] = byte_level;
  out["model"] = {{"type", "BPE"},
                  {"dropout", nullptr},
                  {"unk_token", nullptr},
                  {"continuing_subword_prefix", ""},
                  {"end_of_word_suffix", ""},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", false},
                  {"vocab", vocabulary},
                  {"merges", merges}};
  std::ofstream(argv[1]) << out.dump(1) << "\n";
}
