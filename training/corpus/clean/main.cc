// Cleans, decontaminates, deduplicates and samples the files that list_files.py found, and writes
// the training documents as JSON lines in shards (plain; build.sh compresses them) together with
// the held-out documents and the manifest. One process, two threads for the cleaning.
//
//   clean_corpus FILES.tsv PACKAGES.tsv DECONTAMINATE.jsonl OUT_DIR SHARDS PARTS
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "document.h"
#include "similarity.h"
#include "text_filters.h"
#include "text_hash.h"

namespace fimd::corpus {
namespace {

constexpr std::size_t kSegmentBytes = 256 * 1024;  // neighbouring documents that stay together
constexpr double kTestShare = 0.30;
constexpr std::size_t kLeastTestBytes = 200'000;  // of a package

// MB of text wanted per language; what exceeds it is sampled down by directory.
const std::map<std::string, double> kQuota = {
    {"python", 450}, {"c", 115},       {"cpp", 135}, {"javascript", 95}, {"typescript", 95},
    {"go", 95},      {"rust", 85},     {"java", 60}, {"lua", 25},        {"bash", 18},
    {"cuda", 12},    {"markdown", 14}, {"json", 5},  {"yaml", 4}};

using Documents = std::vector<Document*>;
using Packages = std::map<std::string, std::vector<std::string>>;  // name -> its row's columns
struct Size {
  std::size_t files = 0, bytes = 0;
  void add(const Document& d) {
    ++files;
    bytes += d.text.size();
  }
};
using Sizes = std::map<std::string, Size>;

std::vector<std::vector<std::string>> read_table(const char* file) {
  std::vector<std::vector<std::string>> rows;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    rows.emplace_back();
    for (std::string field; std::getline(fields, field, '\t');) rows.back().push_back(field);
  }
  return rows;
}

std::vector<Document> read_files(const char* file) {
  std::vector<Document> docs;
  for (const auto& row : read_table(file)) {
    Document d;
    d.package = row[0], d.language = row[1], d.held_out = row[2] == "1", d.test = row[3] == "1";
    d.path = row[4], d.disk = row[5], d.repo = row[6];
    docs.push_back(std::move(d));
  }
  return docs;
}

Packages read_packages(const char* file) {
  Packages packages;
  for (const auto& row : read_table(file)) packages.emplace(row[0], row);
  return packages;
}

bool is_cpp_header(const Document& d) {
  return d.language == "c" && d.path.size() > 2 && d.path.ends_with(".h") &&
         contains_any(d.text,
                      {"\nclass ", "\nnamespace ", "\ntemplate", "std::", "public:", "private:"});
}

/// Reads the document's text. Returns why it is not wanted, or nothing.
std::string take_text(Document& d, const Decontamination& decontamination) {
  std::ifstream in(d.disk, std::ios::binary);
  const std::string raw((std::istreambuf_iterator<char>(in)), {});
  if (!is_utf8(raw) || raw.find('\0') != std::string::npos) return "not utf-8";
  d.text = normalised(raw);
  if (std::string problem = quality_problem(d.text, d.language); !problem.empty()) return problem;
  if (is_cpp_header(d)) d.language = "cpp";
  strip_licence_header(d.text, d.language);
  if (d.text.size() < 100) return "too short";
  if (scrub_secrets(d.text)) return "secrets";
  scrub_emails(d.text);
  return !d.held_out && decontamination.hits(d) ? "contaminated" : "";
}

void clean(std::vector<Document>& docs, const Decontamination& decontamination) {
  constexpr std::size_t kThreads = 2;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = t; i < docs.size(); i += kThreads) {
        Document& d = docs[i];
        d.reason = take_text(d, decontamination);
        if (d.reason.empty()) {
          sign(d);
        } else {
          d.text = {};
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

std::string directory_of(const Document& d) {
  const auto slash = d.path.rfind('/');
  return d.package + "\t" + (slash == std::string::npos ? "" : d.path.substr(0, slash));
}

/// Drops documents by whole directories (in a fixed random order) until `keep` bytes are left.
void limit(const Documents& docs, std::size_t keep, const char* reason) {
  Size total;
  for (const auto* d : docs) total.add(*d);
  if (total.bytes <= keep) return;
  std::vector<std::pair<std::uint64_t, Document*>> order;
  for (auto* d : docs) order.emplace_back(hash_bytes(directory_of(*d)), d);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::size_t used = 0;
  for (auto& [hash, d] : order) {
    if (used + d->text.size() > keep) {
      d->reason = reason;
    } else {
      used += d->text.size();
    }
  }
}

/// The documents to train on so far, by what `key` says of them.
template <class Key>
std::map<std::string, Documents> kept_by(std::vector<Document>& docs, const Key& key) {
  std::map<std::string, Documents> groups;
  for (auto& d : docs) {
    if (d.reason.empty() && !d.held_out) groups[key(d)].push_back(&d);
  }
  return groups;
}

/// Caps: tests of a package, packages, languages.
void cap(std::vector<Document>& docs, const Packages& packages) {
  for (auto& [name, list] : kept_by(docs, [](const Document& d) { return d.package; })) {
    Size code;
    Documents tests, kept;
    for (auto* d : list) {
      if (d->test) {
        tests.push_back(d);
      } else {
        code.add(*d);
      }
    }
    const auto share =
        static_cast<std::size_t>(static_cast<double>(code.bytes) * kTestShare / (1 - kTestShare));
    limit(tests, std::max(share, kLeastTestBytes), "test cap");
    for (auto* d : list) {
      if (d->reason.empty()) kept.push_back(d);
    }
    const double most = std::stod(packages.at(name).at(4)) * 1e6;
    limit(kept, static_cast<std::size_t>(most), "package cap");
  }
  for (auto& [language, list] : kept_by(docs, [](const Document& d) { return d.language; })) {
    limit(list, static_cast<std::size_t>(kQuota.at(language) * 1e6), "language cap");
  }
}

void append_quoted(std::string& out, std::string_view s) {
  out.push_back('"');
  for (const unsigned char c : s) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", c);
      out += escape.data();
    } else {
      out.push_back(static_cast<char>(c));
    }
  }
  out.push_back('"');
}

void append_json(std::string& out, const Document& d) {
  out += "{\"repo\":";
  append_quoted(out, d.repo);
  out += ",\"path\":";
  append_quoted(out, d.path);
  out += ",\"lang\":";
  append_quoted(out, d.language);
  out += ",\"text\":";
  append_quoted(out, d.text);
  out += "}\n";
}

/// Segments of neighbouring documents of one package, shuffled.
std::vector<std::vector<const Document*>> make_segments(const std::vector<Document>& docs) {
  std::vector<std::vector<const Document*>> segments;
  std::size_t bytes = 0;
  const Document* last = nullptr;
  for (const auto& d : docs) {
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
  return segments;
}

/// Each segment goes to the part that is the smallest so far.
void write_shards(const std::vector<Document>& docs, const std::string& dir, std::size_t shards,
                  std::size_t parts_of_shard, Sizes& per_package, Sizes& per_language) {
  std::vector<std::string> parts(shards * parts_of_shard);
  for (const auto& segment : make_segments(docs)) {
    const auto smallest =
        std::min_element(parts.begin(), parts.end(),
                         [](const auto& a, const auto& b) { return a.size() < b.size(); });
    for (const auto* d : segment) {
      append_json(*smallest, *d);
      per_package[d->package].add(*d);
      per_language[d->language].add(*d);
    }
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::array<char, 64> name{};
    std::snprintf(name.data(), name.size(), "/shard-%02zu.part%zu.jsonl", i / parts_of_shard,
                  i % parts_of_shard);
    std::ofstream(dir + name.data(), std::ios::binary) << parts[i];
  }
}

void write_held_out(const std::vector<Document>& docs, const std::string& file) {
  std::string held;
  for (const auto& d : docs) {
    if (d.held_out && d.reason.empty()) append_json(held, d);
  }
  std::ofstream(file) << held;
}

void write_manifest(const Sizes& per_package, const Packages& packages, const std::string& file) {
  std::ofstream out(file);
  out << "package\tversion\tsource\tlicence\tfiles\tbytes\n";
  for (const auto& [name, size] : per_package) {
    const auto& row = packages.at(name);
    out << name << '\t' << row[1] << '\t' << row[2] << '\t' << row[3] << '\t' << size.files << '\t'
        << size.bytes << '\n';
  }
}

void write_stats(const std::vector<Document>& docs, const Sizes& per_language,
                 const std::string& file) {
  std::ofstream out(file);
  Size total;
  for (const auto& [language, size] : per_language) {
    out << language << '\t' << size.files << " files\t" << size.bytes << " bytes\n";
    total.files += size.files;
    total.bytes += size.bytes;
  }
  out << "total\t" << total.files << " files\t" << total.bytes << " bytes\n";
  Sizes reasons;
  for (const auto& d : docs) {
    reasons[!d.reason.empty() ? d.reason : d.held_out ? "held out" : "kept"].add(d);
  }
  out << "of " << docs.size() << " candidate files:\n";
  for (const auto& [reason, size] : reasons) {
    out << reason << '\t' << size.files << " files\t" << size.bytes << " bytes\n";
  }
}

int run(char** args) {
  const auto [files, packages_file, items, out] = std::array{args[1], args[2], args[3], args[4]};
  std::vector<Document> docs = read_files(files);
  clean(docs, read_decontamination(items));
  std::fprintf(stderr, "cleaned\n");
  deduplicate(docs);
  std::fprintf(stderr, "deduplicated\n");
  const Packages packages = read_packages(packages_file);
  cap(docs, packages);

  const std::string dir = out;
  Sizes per_package, per_language;
  write_shards(docs, dir, std::stoul(args[5]), std::stoul(args[6]), per_package, per_language);
  write_held_out(docs, dir + "/heldout.docs.jsonl");
  write_manifest(per_package, packages, dir + "/manifest.tsv");
  write_stats(docs, per_language, dir + "/stats.txt");
  for (const auto& d : docs) {
    if (d.reason != "contaminated") continue;
    std::fprintf(stderr, "contaminated: %s %s\n", d.package.c_str(), d.path.c_str());
  }
  return 0;
}

}  // namespace
}  // namespace fimd::corpus

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: clean_corpus FILES PACKAGES DECONTAMINATE OUT SHARDS PARTS\n");
    return 2;
  }
  return fimd::corpus::run(argv);
}
