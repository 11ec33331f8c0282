// Cleans, decontaminates, deduplicates and samples the files that list_files.py found, and writes
// the training documents as JSON lines in shards (plain; build.sh compresses them) together with
// the held-out documents and the manifest. One process, two threads for the cleaning.
//
//   clean_corpus FILES.tsv PACKAGES.tsv DECONTAMINATE.jsonl OUT_DIR SHARDS PARTS
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>

namespace {

constexpr int kBins = 96;        // one-permutation MinHash bins
constexpr int kRowsPerBand = 4;  // 24 bands of 4 rows
constexpr double kNearDuplicate = 0.72;
constexpr std::size_t kSegmentBytes = 256 * 1024;  // neighbouring documents that stay together
constexpr double kTestShare = 0.30;

struct Document {
  std::string package, language, path, disk, repo;
  bool held_out = false, test = false;
  std::string text;
  std::string reason;  // why it was dropped; empty when kept
  std::uint64_t hash = 0;
  std::array<std::uint32_t, kBins> signature{};
};

std::uint64_t Mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::uint64_t HashBytes(std::string_view s, std::uint64_t seed = 1469598103934665603ULL) {
  for (unsigned char c : s) seed = (seed ^ c) * 1099511628211ULL;
  return Mix(seed);
}

bool IsWord(unsigned char c) { return std::isalnum(c) || c == '_' || c >= 0x80; }

// Words and single punctuation marks, without white space.
std::vector<std::uint64_t> TokenHashes(std::string_view text) {
  std::vector<std::uint64_t> tokens;
  tokens.reserve(text.size() / 3);
  for (std::size_t i = 0; i < text.size();) {
    unsigned char c = text[i];
    if (std::isspace(c)) {
      ++i;
      continue;
    }
    std::size_t start = i++;
    if (IsWord(c)) {
      while (i < text.size() && IsWord(text[i])) ++i;
    }
    tokens.push_back(HashBytes(text.substr(start, i - start)));
  }
  return tokens;
}

std::vector<std::uint64_t> Shingles(const std::vector<std::uint64_t>& tokens, std::size_t n) {
  std::vector<std::uint64_t> out;
  for (std::size_t i = 0; i + n <= tokens.size(); ++i) {
    std::uint64_t h = 0;
    for (std::size_t j = 0; j < n; ++j) h = h * 0x9e3779b97f4a7c15ULL + tokens[i + j];
    out.push_back(Mix(h));
  }
  return out;
}

bool ValidUtf8(std::string_view s) {
  for (std::size_t i = 0; i < s.size();) {
    unsigned char c = s[i];
    int n = c < 0x80                ? 0
            : c >= 0xc2 && c < 0xe0 ? 1
            : (c & 0xf0) == 0xe0    ? 2
            : c >= 0xf0 && c < 0xf5 ? 3
                                    : -1;
    if (n < 0 || i + n >= s.size() + (n == 0)) return false;
    for (int k = 1; k <= n; ++k) {
      if ((static_cast<unsigned char>(s[i + k]) & 0xc0) != 0x80) return false;
    }
    i += n + 1;
  }
  return true;
}

std::string Lower(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool Contains(std::string_view text, std::string_view what) {
  return text.find(what) != std::string_view::npos;
}

// Line ends, byte order mark, trailing blanks and long runs of empty lines.
std::string Normalise(std::string_view raw) {
  if (raw.substr(0, 3) == "\xef\xbb\xbf") raw.remove_prefix(3);
  std::string out;
  out.reserve(raw.size() + 1);
  int empty = 0;
  for (std::size_t i = 0; i < raw.size();) {
    std::size_t end = raw.find('\n', i);
    if (end == std::string_view::npos) end = raw.size();
    std::string_view line = raw.substr(i, end - i);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r' ||
                             line.back() == '\f')) {
      line.remove_suffix(1);
    }
    empty = line.empty() ? empty + 1 : 0;
    if (empty <= 2 && !(line.empty() && out.empty())) {
      out.append(line);
      out.push_back('\n');
    }
    i = end + 1;
  }
  while (out.size() > 1 && out[out.size() - 2] == '\n') out.pop_back();
  return out;
}

// Removes a leading comment that holds a licence; one in sixteen stays.
void StripLicenceHeader(std::string& text, const std::string& language) {
  bool hash = language == "python" || language == "bash" || language == "yaml";
  bool dash = language == "lua";
  std::size_t pos = 0, start = 0;
  if (text.rfind("#!", 0) == 0) {
    start = text.find('\n') + 1;
    if (start == 0) return;
  }
  for (int removed = 0; removed < 6; ++removed) {
    pos = start;
    while (pos < text.size() && text[pos] == '\n') ++pos;
    std::size_t end = pos;
    if (!hash && !dash && text.compare(pos, 2, "/*") == 0) {
      end = text.find("*/", pos);
      if (end == std::string::npos) return;
      end = text.find('\n', end);
      if (end == std::string::npos) return;
      ++end;
    } else {
      std::string_view mark = hash ? "#" : dash ? "--" : "//";
      while (end < text.size() && text.compare(end, mark.size(), mark) == 0) {
        std::size_t next = text.find('\n', end);
        end = next == std::string::npos ? text.size() : next + 1;
      }
    }
    if (end == pos) return;
    std::string low = Lower(std::string_view(text).substr(pos, end - pos));
    if (!Contains(low, "copyright") && !Contains(low, "license") && !Contains(low, "licence") &&
        !Contains(low, "redistribut") && !Contains(low, "warranty") && !Contains(low, "coding:")) {
      return;
    }
    while (end < text.size() && text[end] == '\n') ++end;
    if (HashBytes(low.substr(0, 200) + text.substr(end, 64)) % 16 == 0) return;
    text.erase(start, end - start);
  }
}

bool Any(std::string_view text, std::initializer_list<std::string_view> words) {
  for (auto w : words) {
    if (Contains(text, w)) return true;
  }
  return false;
}

// Neutral placeholders for e-mail addresses.
void ScrubEmails(std::string& text) {
  static const std::set<std::string> kDomains = {
      "com",  "org", "net", "edu", "gov",  "io",  "de", "uk", "fr", "jp", "eu", "ch",
      "ca",   "au",  "nl",  "se",  "info", "dev", "us", "cz", "pl", "it", "es", "ru",
      "cn",   "br",  "in",  "at",  "be",   "dk",  "fi", "no", "nz", "kr", "tw", "il",
      "hu",   "pt",  "gr",  "ie",  "za",   "mx",  "ar", "tr", "ua", "me", "cc", "biz",
      "name", "mil", "int", "su",  "ro",   "sk",  "si", "bg", "lt", "lv", "ee"};
  std::size_t at = 0;
  while ((at = text.find('@', at)) != std::string::npos) {
    std::size_t b = at, e = at + 1, dot = std::string::npos;
    auto local = [](unsigned char c) {
      return std::isalnum(c) || c == '.' || c == '_' || c == '-' || c == '+';
    };
    while (b > 0 && at - b < 64 && local(text[b - 1])) --b;
    while (e < text.size() && (std::isalnum(static_cast<unsigned char>(text[e])) ||
                               text[e] == '-' || text[e] == '.')) {
      if (text[e] == '.') {
        if (e + 1 >= text.size() || !std::isalnum(static_cast<unsigned char>(text[e + 1]))) break;
        dot = e;
      }
      ++e;
    }
    if (b == at || dot == std::string::npos ||
        !kDomains.count(Lower(std::string_view(text).substr(dot + 1, e - dot - 1)))) {
      at = e;
      continue;
    }
    constexpr std::string_view kNeutral = "user@example.com";
    text.replace(b, e - b, kNeutral);
    at = b + kNeutral.size();
  }
}

// True when the text carries something that looks like a real credential; short well-known token
// forms are overwritten in place.
bool ScrubSecrets(std::string& text) {
  if (Any(text, {"PRIVATE KEY-----", "BEGIN PGP", "BEGIN CERTIFICATE", "ssh-rsa AAAA"}))
    return true;
  static const std::array<std::pair<const char*, int>, 11> kPrefixes = {{{"AKIA", 16},
                                                                         {"ghp_", 30},
                                                                         {"gho_", 30},
                                                                         {"github_pat_", 30},
                                                                         {"xoxb-", 20},
                                                                         {"xoxp-", 20},
                                                                         {"AIza", 30},
                                                                         {"sk_live_", 16},
                                                                         {"glpat-", 16},
                                                                         {"eyJhbGci", 60},
                                                                         {"npm_", 34}}};
  for (auto [prefix, min] : kPrefixes) {
    std::size_t pos = 0;
    while ((pos = text.find(prefix, pos)) != std::string::npos) {
      std::size_t begin = pos + std::strlen(prefix), end = begin;
      bool digit = false;
      while (end < text.size() &&
             (std::isalnum(static_cast<unsigned char>(text[end])) ||
              std::strchr("-_.", text[end]) != nullptr) &&
             text[end] != 0) {
        digit |= std::isdigit(static_cast<unsigned char>(text[end])) != 0;
        ++end;
      }
      if (digit && end - begin >= static_cast<std::size_t>(min))
        text.replace(pos, end - pos, "XXXXXXXX");
      pos += 4;
    }
  }
  return false;
}

std::string QualityProblem(const std::string& text, const std::string& language) {
  std::string head = Lower(std::string_view(text).substr(0, 1500));
  if (Any(head, {"do not edit", "generated by", "autogenerated", "auto-generated",
                 "automatically generated", "@generated", "machine generated", "generated from",
                 "generated automatically", "do not modify", "was generated", "is generated",
                 "code generated"})) {
    return "generated";
  }
  if (Any(head, {"gnu general public", "gnu lesser", "gnu library general", "gnu affero",
                 "mozilla public", "eclipse public", "gpl-2", "gpl-3", "lgpl", "under the gpl",
                 "all rights reserved. proprietary"})) {
    return "copyleft header";
  }
  std::size_t lines = 0, longest = 0, start = 0, alpha = 0, digits = 0, wide = 0, data_lines = 0,
              run = 0, longest_run = 0, blank = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char c = text[i];
    if (c == '\n') {
      longest = std::max(longest, i - start);
      std::size_t f = start;
      while (f < i && (text[f] == ' ' || text[f] == '\t' || text[f] == '{' || text[f] == '(' ||
                       text[f] == '['))
        ++f;
      if (f == i) ++blank;
      bool number =
          f < i &&
          (std::isdigit(static_cast<unsigned char>(text[f])) || text[f] == '"' || text[f] == '\'' ||
           (text[f] == '-' && f + 1 < i && std::isdigit(static_cast<unsigned char>(text[f + 1]))));
      bool comma = i > start && (text[i - 1] == ',' || text[i - 1] == '"');
      if (number && comma) ++data_lines;
      ++lines;
      start = i + 1;
    }
    if (std::isalpha(c)) ++alpha;
    if (std::isdigit(c)) ++digits;
    if (c >= 0x80) ++wide;
    if (std::isalnum(c) || c == '+' || c == '/' || c == '=')
      longest_run = std::max(longest_run, ++run);
    else
      run = 0;
  }
  if (lines < 4) return "too short";
  if (longest > 600) return "long lines";
  if (text.size() / lines > 90) return "long lines";
  double n = static_cast<double>(text.size());
  if (alpha / n < 0.35) return "few letters";
  if (digits / n > 0.16) return "numbers";
  if (wide / n > 0.03) return "not ascii";
  if (longest_run > 180) return "encoded data";
  if (language != "json" && data_lines > lines / 2 && lines > 30) return "data table";
  return "";
}

void Sign(Document& d) {
  auto tokens = TokenHashes(d.text);
  std::uint64_t h = 0;
  for (auto t : tokens) h = Mix(h * 31 + t);
  d.hash = h;
  auto shingles = Shingles(tokens, 5);
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
        d.signature[i] = static_cast<std::uint32_t>(Mix(v + static_cast<std::uint64_t>(k) * 7919));
        break;
      }
    }
  }
}

struct Decontamination {
  std::unordered_set<std::uint64_t> shingles;
  std::vector<std::pair<std::string, std::vector<std::string>>>
      functions;  // "def name(", doc lines

  bool Hit(const Document& d) const {
    for (auto s : Shingles(TokenHashes(d.text), 30)) {
      if (shingles.count(s)) return true;
    }
    if (d.language != "python" && d.language != "markdown") return false;
    for (const auto& [def, lines] : functions) {
      if (!Contains(d.text, def)) continue;
      for (const auto& line : lines) {
        if (Contains(d.text, line)) return true;
      }
    }
    return false;
  }
};

Decontamination LoadDecontamination(const std::string& file) {
  Decontamination out;
  std::ifstream in(file);
  std::set<std::string> seen;
  for (std::string line; std::getline(in, line);) {
    auto j = nlohmann::json::parse(line);
    if (!j.contains("prompt")) {  // one of our own items: only the neighbourhood of the line counts
      std::string before = j["prefix"], middle = j["middle"], after = j["suffix"];
      if (before.size() > 400) before.erase(0, before.size() - 400);
      auto tokens = TokenHashes(before + middle + after.substr(0, 300));
      auto shingles = Shingles(tokens, 30);
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
    for (auto s : Shingles(TokenHashes(whole), 30)) out.shingles.insert(s);
    std::pair<std::string, std::vector<std::string>> f{
        "def " + j["entry_point"].get<std::string>() + "(", {}};
    std::istringstream rows(whole);
    for (std::string row; std::getline(rows, row);) {
      std::size_t b = row.find_first_not_of(" \t\"'");
      if (b != std::string::npos && row.size() - b >= 24 && !Contains(row, "def ") &&
          !Contains(row, "import ")) {
        f.second.push_back(row.substr(b));
      }
    }
    out.functions.push_back(std::move(f));
  }
  return out;
}

void Clean(Document& d, const Decontamination& decontamination) {
  std::ifstream in(d.disk, std::ios::binary);
  std::string raw((std::istreambuf_iterator<char>(in)), {});
  if (!ValidUtf8(raw) || raw.find('\0') != std::string::npos) {
    d.reason = "not utf-8";
    return;
  }
  d.text = Normalise(raw);
  d.reason = QualityProblem(d.text, d.language);
  if (d.reason.empty()) {
    if (d.language == "c" && d.path.size() > 2 && d.path.substr(d.path.size() - 2) == ".h" &&
        Any(d.text, {"\nclass ", "\nnamespace ", "\ntemplate", "std::", "public:", "private:"})) {
      d.language = "cpp";
    }
    StripLicenceHeader(d.text, d.language);
    if (d.text.size() < 100)
      d.reason = "too short";
    else if (ScrubSecrets(d.text))
      d.reason = "secrets";
  }
  if (d.reason.empty()) {
    ScrubEmails(d.text);
    if (!d.held_out && decontamination.Hit(d)) d.reason = "contaminated";
  }
  if (d.reason.empty())
    Sign(d);
  else
    d.text.clear(), d.text.shrink_to_fit();
}

void Deduplicate(std::vector<Document>& docs) {
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
        key = Mix(key * 31 + d.signature[b * kRowsPerBand + r]);
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

std::string Directory(const Document& d) {
  auto slash = d.path.rfind('/');
  return d.package + "\t" + (slash == std::string::npos ? "" : d.path.substr(0, slash));
}

// Drops documents by whole directories (in a fixed random order) until `keep` bytes are left.
void Limit(std::vector<Document*> docs, std::size_t keep, const char* reason) {
  std::size_t total = 0;
  for (auto* d : docs) total += d->text.size();
  if (total <= keep) return;
  std::vector<std::pair<std::uint64_t, Document*>> order;
  for (auto* d : docs) {
    order.emplace_back(HashBytes(Directory(*d)), d);
  }
  std::stable_sort(order.begin(), order.end(), [](auto& a, auto& b) { return a.first < b.first; });
  std::size_t used = 0;
  for (auto& [h, d] : order) {
    if (used + d->text.size() > keep)
      d->reason = reason;
    else
      used += d->text.size();
  }
}

void AppendJson(std::string& out, const Document& d) {
  auto quote = [&out](std::string_view s) {
    out.push_back('"');
    for (unsigned char c : s) {
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\t':
          out += "\\t";
          break;
        default:
          if (c < 0x20 || c == 0x7f) {
            char buf[8];
            std::snprintf(buf, sizeof buf, "\\u%04x", c);
            out += buf;
          } else {
            out.push_back(static_cast<char>(c));
          }
      }
    }
    out.push_back('"');
  };
  out += "{\"repo\":";
  quote(d.repo);
  out += ",\"path\":";
  quote(d.path);
  out += ",\"lang\":";
  quote(d.language);
  out += ",\"text\":";
  quote(d.text);
  out += "}\n";
}

// MB of text wanted per language; what exceeds it is sampled down by directory.
const std::map<std::string, double> kQuota = {
    {"python", 450}, {"c", 115},       {"cpp", 135}, {"javascript", 95}, {"typescript", 95},
    {"go", 95},      {"rust", 85},     {"java", 60}, {"lua", 25},        {"bash", 18},
    {"cuda", 12},    {"markdown", 14}, {"json", 5},  {"yaml", 4}};

std::vector<std::string> SplitTabs(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream in(line);
  for (std::string f; std::getline(in, f, '\t');) out.push_back(f);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: clean_corpus FILES PACKAGES DECONTAMINATE OUT SHARDS PARTS\n");
    return 2;
  }
  const std::string out_dir = argv[4];
  const std::size_t parts = std::stoul(argv[5]) * std::stoul(argv[6]);
  std::vector<Document> docs;
  {
    std::ifstream in(argv[1]);
    for (std::string line; std::getline(in, line);) {
      auto f = SplitTabs(line);
      Document d;
      d.package = f[0], d.language = f[1], d.held_out = f[2] == "1", d.test = f[3] == "1";
      d.path = f[4], d.disk = f[5], d.repo = f[6];
      docs.push_back(std::move(d));
    }
  }
  Decontamination decontamination = LoadDecontamination(argv[3]);
  {
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = t; i < docs.size(); i += 2) Clean(docs[i], decontamination);
      });
    }
    for (auto& t : threads) t.join();
  }
  std::fprintf(stderr, "cleaned\n");
  Deduplicate(docs);
  std::fprintf(stderr, "deduplicated\n");

  // Caps: tests per package, package size, language.
  std::map<std::string, std::vector<std::string>> packages;  // name -> the columns of PACKAGES
  {
    std::ifstream in(argv[2]);
    for (std::string line; std::getline(in, line);) {
      auto f = SplitTabs(line);
      packages.emplace(f[0], f);
    }
  }
  std::map<std::string, std::vector<Document*>> by_package;
  for (auto& d : docs) {
    if (d.reason.empty() && !d.held_out) by_package[d.package].push_back(&d);
  }
  for (auto& [name, list] : by_package) {
    std::size_t code = 0;
    std::vector<Document*> tests, kept;
    for (auto* d : list) {
      if (d->test)
        tests.push_back(d);
      else
        code += d->text.size();
    }
    auto share = std::max<std::size_t>(
        static_cast<std::size_t>(code * kTestShare / (1 - kTestShare)), 200'000);
    Limit(tests, share, "test cap");
    for (auto* d : list) {
      if (d->reason.empty()) kept.push_back(d);
    }
    Limit(kept, static_cast<std::size_t>(std::stod(packages.at(name).at(4)) * 1e6), "package cap");
  }
  std::map<std::string, std::vector<Document*>> by_language;
  for (auto& d : docs) {
    if (d.reason.empty() && !d.held_out) by_language[d.language].push_back(&d);
  }
  for (auto& [lang, list] : by_language) {
    Limit(list, static_cast<std::size_t>(kQuota.at(lang) * 1e6), "language cap");
  }

  // Segments of neighbouring documents of one package, shuffled over all parts.
  std::vector<std::vector<const Document*>> segments;
  std::size_t bytes = 0;
  const Document* last = nullptr;
  for (auto& d : docs) {
    if (!d.reason.empty() || d.held_out) continue;
    if (last == nullptr || last->package != d.package || bytes > kSegmentBytes) {
      segments.emplace_back();
      bytes = 0;
    }
    segments.back().push_back(&d);
    bytes += d.text.size();
    last = &d;
  }
  std::mt19937_64 random(20261121);
  std::shuffle(segments.begin(), segments.end(), random);
  std::vector<std::string> buffers(parts);
  std::map<std::string, std::array<std::size_t, 2>> per_package, per_language;
  for (auto& s : segments) {
    auto smallest = std::min_element(buffers.begin(), buffers.end(),
                                     [](auto& a, auto& b) { return a.size() < b.size(); });
    for (auto* d : s) {
      AppendJson(*smallest, *d);
      auto& p = per_package[d->package];
      auto& l = per_language[d->language];
      p[0]++, l[0]++;
      p[1] += d->text.size(), l[1] += d->text.size();
    }
  }
  const std::size_t per_shard = std::stoul(argv[6]);
  for (std::size_t i = 0; i < parts; ++i) {
    char name[64];
    std::snprintf(name, sizeof name, "/shard-%02zu.part%zu.jsonl", i / per_shard, i % per_shard);
    std::ofstream(out_dir + name, std::ios::binary) << buffers[i];
  }
  std::string held;
  for (auto& d : docs) {
    if (d.held_out && d.reason.empty()) AppendJson(held, d);
  }
  std::ofstream(out_dir + "/heldout.docs.jsonl") << held;

  std::ofstream manifest(out_dir + "/manifest.tsv");
  manifest << "package\tversion\tsource\tlicence\tfiles\tbytes\n";
  for (auto& [name, n] : per_package) {
    const auto& f = packages.at(name);
    manifest << name << '\t' << f[1] << '\t' << f[2] << '\t' << f[3] << '\t' << n[0] << '\t' << n[1]
             << '\n';
  }
  for (auto& d : docs) {
    if (d.reason == "contaminated")
      std::fprintf(stderr, "contaminated: %s %s\n", d.package.c_str(), d.path.c_str());
  }
  std::ofstream stats(out_dir + "/stats.txt");
  std::size_t total = 0, files = 0;
  for (auto& [lang, n] : per_language) {
    stats << lang << '\t' << n[0] << " files\t" << n[1] << " bytes\n";
    total += n[1], files += n[0];
  }
  stats << "total\t" << files << " files\t" << total << " bytes\n";
  std::map<std::string, std::array<std::size_t, 2>> reasons;
  for (auto& d : docs) {
    auto& r = reasons[d.reason.empty() ? (d.held_out ? "held out" : "kept") : d.reason];
    r[0]++, r[1] += d.text.size();
  }
  stats << "of " << docs.size() << " candidate files:\n";
  for (auto& [reason, n] : reasons)
    stats << reason << '\t' << n[0] << " files\t" << n[1] << " bytes\n";
}
