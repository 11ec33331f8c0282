// Tokenizer speed on one thread.
// usage: tokenizer_bench TOKENIZER.json FILE...     (the files' text is encoded file by file)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "engine/tokenizer/load.h"

namespace fimd {
namespace {

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The median of five runs.
double median_seconds(const std::function<void()>& work) {
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) times.push_back(seconds(work));
  std::sort(times.begin(), times.end());
  return times[2];
}

int run(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s TOKENIZER.json FILE...\n", argv[0]);
    return 2;
  }
  std::unique_ptr<Tokenizer> tokenizer;
  const double load = seconds([&] {
    auto loaded = load_tokenizer_json(argv[1]);
    if (loaded.ok()) {
      tokenizer = std::move(loaded).value();
    } else {
      std::fprintf(stderr, "%s\n", loaded.error().message.c_str());
    }
  });
  if (tokenizer == nullptr) return 1;

  std::vector<std::string> texts;
  size_t bytes = 0;
  for (int i = 2; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    bytes += texts.back().size();
  }
  std::vector<TokenId> ids;
  const auto encode_all = [&] {
    ids.clear();
    for (const std::string& text : texts) tokenizer->encode(text, &ids);
  };
  const double first = seconds(encode_all);
  const double again = median_seconds(encode_all);
  size_t decoded = 0;
  const double decode = median_seconds([&] {
    decoded = 0;
    for (const TokenId id : ids) decoded += tokenizer->bytes(id).size();
  });
  const double mb = static_cast<double>(bytes) / 1e6;
  std::printf("load %.0f ms, vocabulary %d\n", load * 1e3, tokenizer->vocab_size());
  std::printf("encode %.1f MB of %zu files: first %.1f MB/s, then %.1f MB/s, %.2f bytes/token\n",
              mb, texts.size(), mb / first, mb / again,
              static_cast<double>(bytes) / static_cast<double>(std::max<size_t>(1, ids.size())));
  std::printf("decode %.1f MB/s (%zu bytes)\n", mb / decode, decoded);

  for (const char* prefix : {"", " ", "self.", "return"}) {
    size_t found = 0;
    const double t = median_seconds([&] { found = tokenizer->compatible_with(prefix).size(); });
    std::printf("compatible_with(\"%s\"): %zu tokens, %.1f us\n", prefix, found, t * 1e6);
  }
  for (const char* atom : {"a", " ", "\n", "(", "字"}) {
    std::string text;
    while (text.size() < (1U << 20)) text += atom;
    const double t = seconds([&] {
      ids.clear();
      tokenizer->encode(text, &ids);
    });
    std::printf("1 MiB of '%s': %.1f ms, %zu tokens\n", *atom == '\n' ? "\\n" : atom, t * 1e3,
                ids.size());
  }
  return 0;
}

}  // namespace
}  // namespace fimd

int main(int argc, char** argv) { return fimd::run(argc, argv); }
